"""Bases as torch distributions, torch distributions as bases, paths for torch-fidelity."""

from __future__ import annotations

import copy
import math
import pickle
import sys
from types import ModuleType

import pytest
import torch
from torch import distributions as td
from torch.testing import assert_close

from flowkernels.bases import BaseDistribution, FromDistribution, base_names, make_base
from flowkernels.flows import glow, realnvp
from flowkernels.interpolation import fidelity, get_path, path_names

GIVEN = {
    "laplace": lambda: td.Independent(td.Laplace(torch.randn(4), torch.ones(4)), 1),
    "gaussian": lambda: td.MultivariateNormal(torch.randn(4), 2 * torch.eye(4)),
    "expanded": lambda: td.Independent(td.StudentT(5.0).expand((4,)), 1),
    "mixture": lambda: td.MixtureSameFamily(
        td.Categorical(torch.tensor([0.3, 0.7])),
        td.Independent(td.Normal(torch.randn(2, 4), torch.ones(2, 4)), 1),
    ),
    "transformed": lambda: td.TransformedDistribution(
        td.Independent(td.Normal(torch.zeros(4), torch.ones(4)), 1),
        [td.AffineTransform(torch.randn(4), torch.tensor(2.0), event_dim=1)],
    ),
}
each_given = pytest.mark.parametrize("make", GIVEN.values(), ids=GIVEN)
every_name = pytest.mark.parametrize("name", base_names())


@each_given
def test_torch_distribution_as_base(make):
    given = make()
    base = FromDistribution(given)
    z = given.sample((6, 2))
    assert_close(base.log_prob(z), given.log_prob(z))
    assert base.sample(3).shape == (3, 4)
    torch.manual_seed(0)
    expected = given.sample((5,))
    torch.manual_seed(0)
    assert_close(base.sample(5), expected)
    double = copy.deepcopy(base).double()
    assert double.sample(2).dtype == torch.float64
    assert_close(double.log_prob(z.double()).float(), given.log_prob(z))
    assert base.sample(2).dtype == torch.float32
    assert base.log_prob(z.bfloat16()).dtype == torch.float32
    other = FromDistribution(make())
    other.load_state_dict(base.state_dict())
    for twin in (other, pickle.loads(pickle.dumps(base)), copy.deepcopy(base)):
        assert torch.equal(twin.log_prob(z), base.log_prob(z))
    assert given.log_prob(z).dtype == torch.float32  # the original is unchanged
    assert base.as_distribution() is base.distribution
    compiled = torch.compile(base.log_prob, fullgraph=True, backend="aot_eager")
    assert_close(compiled(z), base.log_prob(z))


def test_distribution_is_detached():
    scale = torch.ones(4, requires_grad=True)
    base = FromDistribution(td.Independent(td.Laplace(torch.zeros(4), 2 * scale), 1))
    z = torch.randn(3, 4, requires_grad=True)
    for _ in range(2):  # a shared graph would be freed by the first backward
        base.log_prob(z).sum().backward()
    assert scale.grad is None
    assert z.grad.isfinite().all()


def test_flow_accepts_a_distribution_as_base():
    given = td.Independent(td.Laplace(torch.zeros(6), torch.ones(6)), 1)
    flow = realnvp(6, layers=2, hidden=8, base=given).double()
    x = torch.randn(5, 6, dtype=torch.float64)
    z, log_det = flow(x)
    expected = td.Laplace(0.0, 1.0).log_prob(z).sum(-1) + log_det
    assert_close(flow.log_prob(x), expected)
    assert flow.sample(3).shape == (3, 6)
    assert flow.interpolate(x[0], x[1], 0.5).shape == (6,)


def test_base_without_rsample():
    base = FromDistribution(GIVEN["mixture"]())
    assert not base.has_rsample
    with pytest.raises(NotImplementedError):
        base.rsample((2,))


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (lambda: td.Laplace(torch.zeros(4), 1.0), ValueError, r"got \(4,\) and \(\)"),
        (lambda: td.Normal(0.0, 1.0), ValueError, r"got \(\) and \(\)"),
        (
            lambda: td.Independent(td.Normal(torch.zeros(2, 4), 1.0), 1),
            ValueError,
            r"got \(2,\) and \(4,\)",
        ),
        (lambda: td.Dirichlet(torch.ones(4)), ValueError, r"all of R\^4, got Dirichlet on Simplex"),
        (lambda: td.Independent(td.Gamma(torch.ones(4), 1.0), 1), ValueError, r"all of R\^4"),
        (lambda: "normal", TypeError, "got str"),
    ],
)
def test_rejects_unsuitable_distributions(given, error, message):
    with pytest.raises(error, match=message):
        FromDistribution(given())


def test_rejects_wrong_dimension():
    given = td.Independent(td.Laplace(torch.zeros(6), torch.ones(6)), 1)
    with pytest.raises(ValueError, match=r"event_shape \(5,\), got \(6,\)"):
        make_base(given, 5)


@every_name
def test_base_as_torch_distribution(name):
    base = make_base(name, 4).eval()
    law = base.as_distribution()
    assert isinstance(law, td.Distribution)
    assert (law.batch_shape, law.event_shape) == ((), (4,))
    z = law.sample((3, 2))
    assert z.shape == (3, 2, 4)
    assert law.support.check(z).all()
    assert_close(law.log_prob(z), base.log_prob(z))
    if law.has_rsample:
        assert law.rsample((5,)).shape == (5, 4)
    wide = law.expand((2,))
    assert wide.sample((3,)).shape == (3, 2, 4)
    assert wide.log_prob(z[0, 0]).shape == (2,)
    assert_close(wide.log_prob(z), law.log_prob(z))
    # explicit: torch.compile in another test turns the default off
    with pytest.raises(ValueError, match="within the support"):
        BaseDistribution(base, validate_args=True).log_prob(torch.full((4,), math.nan))
    # works inside torch's distributions
    assert td.Independent(wide, 1).log_prob(z).shape == (3,)


@every_name
@pytest.mark.parametrize("kind", ["realnvp", "glow"])
def test_flow_with_every_base(name, kind):
    if kind == "realnvp":
        flow = realnvp(6, layers=2, hidden=8, base=name)
        data = torch.randn(16, 6)
    else:
        flow = glow((1, 4, 4), levels=1, steps=2, hidden=8, base=name)
        data = torch.randint(256, (16, 1, 4, 4), dtype=torch.uint8)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        loss = -flow.log_prob(data).mean()
        loss.backward()
        optimizer.step()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in flow.parameters())
    flow.eval()
    assert flow.sample(3).shape == (3, *data.shape[1:])
    t = torch.linspace(0, 1, 3)
    walk = flow.interpolate(data[:4], data[4:8], t)
    assert walk.shape == (4, 3, *data.shape[1:])
    tolerance = 1e-3 if kind == "realnvp" else 0
    assert_close(walk[:, 0], data[:4].float(), rtol=0, atol=tolerance)
    assert_close(walk[:, -1], data[4:8].float(), rtol=0, atol=tolerance)


def test_paths_for_torch_fidelity():
    pytest.importorskip(
        "torch_fidelity.registry", reason="torch-fidelity is not installed", exc_type=ImportError
    )
    from torch_fidelity.utils import batch_interp

    assert set(fidelity.register(prefix="flowkernels_")) == {
        f"flowkernels_{name}" for name in path_names()
    }
    a, b = torch.randn(2, 5, 8)
    for name in path_names():
        assert_close(batch_interp(a, b, 1e-4, f"flowkernels_{name}"), get_path(name)(a, b, 1e-4))


@pytest.fixture
def registry(monkeypatch):
    """A stand-in for the two names used of torch-fidelity's registry, as in version 0.4.0."""
    module = ModuleType("torch_fidelity.registry")
    module.INTERPOLATION_REGISTRY = {"lerp": None}

    def register_interpolation(name, fn_interpolate):
        assert name not in module.INTERPOLATION_REGISTRY
        assert callable(fn_interpolate)
        module.INTERPOLATION_REGISTRY[name] = fn_interpolate

    module.register_interpolation = register_interpolation
    monkeypatch.setitem(sys.modules, "torch_fidelity", ModuleType("torch_fidelity"))
    monkeypatch.setitem(sys.modules, "torch_fidelity.registry", module)
    return module.INTERPOLATION_REGISTRY


def test_register(registry):
    assert fidelity.register() == path_names()
    assert fidelity.register() == path_names()  # idempotent
    assert registry["slerp"] is get_path("slerp")
    assert fidelity.register(["linear"], prefix="my_") == ["my_linear"]
    assert set(registry) == {"lerp", "my_linear", *path_names()}
    with pytest.raises(ValueError, match=r"path must be one of .*got 'arc'"):
        fidelity.register(["arc"])


def test_missing_torch_fidelity_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    monkeypatch.delitem(sys.modules, "torch_fidelity.registry", raising=False)
    with pytest.raises(ImportError, match=r"torch_fidelity.*pip install torch-fidelity"):
        fidelity.register()
