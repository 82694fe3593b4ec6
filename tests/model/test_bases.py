"""Base distributions: normalisation, samples, paths, dtypes, state, errors."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
from torch.testing import assert_close

from flowkernels import ops
from flowkernels.bases import (
    LogRatioDirichlet,
    SphericalPowerSpherical,
    SphericalVonMisesFisher,
    StandardCauchy,
    StandardIsotropicCauchy,
    StandardNormal,
    StickBreakingDirichlet,
    base_names,
    make_base,
)

BASES = {
    "normal": StandardNormal,
    "vmf": SphericalVonMisesFisher,
    "vmf_2": lambda dim: SphericalVonMisesFisher(dim, 2.0),
    "vmf_other_mean": lambda dim: SphericalVonMisesFisher(
        dim, 1.5, loc=torch.nn.functional.normalize(torch.arange(dim + 1.0) - dim, dim=0)
    ),
    "power_spherical": SphericalPowerSpherical,
    "power_spherical_other_mean": lambda dim: SphericalPowerSpherical(
        dim, 1.5, loc=torch.nn.functional.normalize(torch.arange(dim + 1.0) - dim, dim=0)
    ),
    "dirichlet": StickBreakingDirichlet,
    "dirichlet_sparse": lambda dim: StickBreakingDirichlet(dim, 0.3),
    "dirichlet_alr": LogRatioDirichlet,
    "dirichlet_alr_5": lambda dim: LogRatioDirichlet(dim, 5.0),
    "cauchy": StandardCauchy,
    "isotropic_cauchy": StandardIsotropicCauchy,
}
every_base = pytest.mark.parametrize("make", BASES.values(), ids=BASES)


def sinh_grid(dim, points, reach=20.0):
    """Trapezoid nodes z = sinh(u) and weights on R^dim: polynomial tails need a wide grid."""
    u = torch.linspace(-reach, reach, points, dtype=torch.float64)
    nodes = torch.meshgrid(*[u.sinh()] * dim, indexing="ij")
    weights = torch.meshgrid(*[u.cosh() * (u[1] - u[0])] * dim, indexing="ij")
    return torch.stack(nodes, -1).flatten(0, -2), torch.stack(weights, -1).prod(-1).flatten()


@every_base
@pytest.mark.parametrize(("dim", "points"), [(1, 4001), (2, 801)])
def test_density_integrates_to_one(make, dim, points):
    z, weight = sinh_grid(dim, points)
    total = (make(dim).double().log_prob(z).exp() * weight).sum()
    assert abs(total.item() - 1) < 1e-6


@every_base
@pytest.mark.parametrize("dim", [2, 16])
def test_samples_follow_the_density(make, dim):
    # E_p[q / p] = 1 for every q whose support p covers
    if make in (BASES["cauchy"], BASES["dirichlet_sparse"]):
        dim = min(dim, 4)  # a Gaussian q is a poor proposal; test_base_distributions has a better
    base = make(dim).double()
    n = 20_000
    z = base.sample(n)
    centre, spread = z.median(0).values, 0.8
    if make in (BASES["vmf_other_mean"], BASES["power_spherical_other_mean"]):
        spread = 1.0
    log_q = torch.distributions.Normal(centre, spread).log_prob(z).sum(-1)
    ratio = (log_q - base.log_prob(z)).exp()
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / math.sqrt(n)
    assert ratio.std() / math.sqrt(n) < 0.1


def test_normal_matches_torch():
    z = torch.randn(7, 5, 3)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    assert_close(StandardNormal(3).log_prob(z), expected)


@pytest.mark.parametrize("c", [0.1, 1.0, 1.5, 2.0, 1e3])
def test_typical_radius_matches_the_mean_cosine(c):
    dim = 10**6
    mean = ops.vmf_mean_resultant(torch.tensor(c * dim, dtype=torch.float64), dim + 1).item()
    expected = math.sqrt((1 - mean) / (1 + mean))
    assert abs(SphericalVonMisesFisher.typical_radius(c) / expected - 1) < 1e-5


@pytest.mark.parametrize("make", [SphericalVonMisesFisher, SphericalPowerSpherical])
@pytest.mark.parametrize("c", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("dim", [64, 784])
def test_spherical_latents_have_unit_variance(make, c, dim):
    base = make(dim, c)
    lengths = base.sample(200).norm(dim=-1) / math.sqrt(dim)
    assert abs(lengths.mean() - 1) < 0.05
    # unit-variance outputs have about the same density as the base's own draws
    own, normal = base.log_prob(base.sample(500)), base.log_prob(torch.randn(500, dim))
    assert abs(own.mean() - normal.mean()) < 0.1 * dim


def test_vmf_density_matches_the_paper():
    dim, c = 9, 1.5
    base = SphericalVonMisesFisher(dim, c).double()
    z = torch.randn(6, dim, dtype=torch.float64)
    s, log_det = base.projection(z)
    kappa = base.concentration
    expected = ops.vmf_log_normalizer(kappa, dim + 1) + kappa * (s @ base.loc) + log_det
    assert_close(base.log_prob(z), expected)


def test_vmf_density_is_one_fused_op(monkeypatch):
    calls = []
    fused = ops.stereographic_vmf_log_prob
    monkeypatch.setattr(
        ops, "stereographic_vmf_log_prob", lambda *args: calls.append(args) or fused(*args)
    )
    SphericalVonMisesFisher(5).log_prob(torch.randn(2, 5))
    assert len(calls) == 1


def test_vmf_path_is_an_arc_on_the_sphere():
    base = SphericalVonMisesFisher(6).double()
    a, b = torch.randn(2, 10, 6, dtype=torch.float64)
    t = torch.linspace(0, 1, 7, dtype=torch.float64)
    path = base.path(a, b, t)
    assert path.shape == (10, 7, 6)
    assert_close(path[:, 0], a)
    assert_close(path[:, -1], b)
    arc = base.projection(path)[0]
    steps = (arc[:, 1:] * arc[:, :-1]).sum(-1).clamp(-1, 1).acos()
    assert_close(steps, steps[:, :1].expand_as(steps), rtol=1e-6, atol=1e-7)
    assert_close(base.path(a, b, t, "slerp"), path)
    assert_close(base.path(a, b, 0.5), path[:, 3])
    assert_close(base.path(a, b, 0.5, "linear"), (a + b) / 2)


@every_base
def test_shapes_dtypes_and_state(make):
    base = make(4)
    assert base.event_shape == (4,)
    assert base.dim == 4
    assert base.sample().shape == (4,)
    assert base.sample(3).shape == (3, 4)
    assert base.sample((2, 3)).shape == (2, 3, 4)
    assert base.sample((0,)).shape == (0, 4)
    z = base.sample((2, 3))
    assert base.log_prob(z).shape == (2, 3)
    double = copy.deepcopy(base).double()
    assert double.sample(2).dtype == torch.float64
    assert double.log_prob(z.double()).dtype == torch.float64
    fresh = make(4)
    fresh.load_state_dict(base.state_dict())
    for twin in (copy.deepcopy(base), pickle.loads(pickle.dumps(base)), fresh):
        assert torch.equal(twin.log_prob(z), base.log_prob(z))
    torch.manual_seed(3)
    first = base.sample(5)
    torch.manual_seed(3)
    assert torch.equal(base.sample(5), first)


@every_base
def test_half_precision_log_prob_is_float32(make):
    base = make(8)
    z = base.sample(16).bfloat16()
    log_prob = base.to(torch.bfloat16).log_prob(z)
    assert log_prob.dtype == torch.float32
    assert log_prob.isfinite().all()


@every_base
def test_log_prob_and_gradient_are_finite_at_large_latents(make):
    z = torch.tensor([[0.0, 0.0], [1e-20, 0.0], [1e4, -1e4]], requires_grad=True)
    log_prob = make(2).log_prob(z)
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert z.grad.isfinite().all()


@pytest.mark.parametrize(
    "make",
    [SphericalVonMisesFisher, SphericalPowerSpherical, StickBreakingDirichlet, LogRatioDirichlet],
)
def test_state_dict_determines_the_density(make):
    saved = make(6, 2.0)
    other = make(6, 1.0)
    other.load_state_dict(saved.state_dict())
    z = torch.randn(3, 6)
    assert torch.equal(other.log_prob(z), saved.log_prob(z))
    assert other.concentration_scale == 2.0


@every_base
def test_first_and_second_derivatives(make):
    base = make(3).double()
    z = base.sample(4).clamp(-20, 20).requires_grad_()
    assert torch.autograd.gradcheck(base.log_prob, z)
    assert torch.autograd.gradgradcheck(base.log_prob, z)
    torch.autograd.gradcheck(base.log_prob, torch.zeros(1, 3, dtype=torch.float64).requires_grad_())


@every_base
def test_compiles_without_graph_breaks(make):
    base = make(5)
    z = base.sample(7)
    torch._dynamo.reset()  # all bases share one `log_prob`, whose versions torch counts
    compiled = torch.compile(base.log_prob, fullgraph=True, backend="aot_eager")
    assert_close(compiled(z), base.log_prob(z))
    assert_close(torch.func.vmap(base.log_prob)(z), base.log_prob(z))


@every_base
def test_single_precision_in_3072_dimensions(make):
    dim = 3072
    base = make(dim)
    double = copy.deepcopy(base).double()
    z = torch.cat([base.sample(8), torch.randn(8, dim), 1e3 * torch.randn(8, dim)])
    got, exact = base.log_prob(z).double(), double.log_prob(z.double())
    # the spacing of float32 between 4,096 and 8,192 is 1/2048 nat
    tolerance = 3e-3 + 1e-6 * (exact.abs() - 8192).clamp_min(0)
    assert got.isfinite().all()
    assert ((got - exact).abs() <= tolerance).all(), (got - exact).abs().max()


def test_make_base():
    assert isinstance(make_base("normal", 3), StandardNormal)
    vmf = make_base("vmf", 3, 2.0)
    assert isinstance(vmf, SphericalVonMisesFisher)
    assert vmf.concentration == 6.0
    assert make_base(vmf, 3) is vmf
    for name in base_names():
        assert make_base(name, 4).event_shape == (4,)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: make_base("gauss", 3), '"normal", "vmf".* or a base module, got \'gauss\''),
        (lambda: make_base(StandardNormal(2), 3), r"event_shape \(3,\), got \(2,\)"),
        (lambda: StandardNormal(0), "dim must be at least 1, got 0"),
        (
            lambda: StandardNormal(2, default_path="bent"),
            "default_path must be one of .*got 'bent'",
        ),
        (lambda: SphericalVonMisesFisher(3, 0.0), "concentration_scale must be positive"),
        (lambda: LogRatioDirichlet(3, -1.0), "concentration_scale must be positive"),
        (lambda: StickBreakingDirichlet(3, math.inf), "concentration_scale must be positive"),
        (lambda: SphericalVonMisesFisher(3, math.nan), "concentration_scale must be positive"),
        (lambda: SphericalVonMisesFisher(3, loc=torch.ones(4)), "unit vector .*length 2"),
        (lambda: SphericalVonMisesFisher(3, loc=torch.eye(3)[0]), r"shape \(4,\), got .*\(3,\)"),
    ],
)
def test_rejects_bad_input(act, message):
    with pytest.raises(ValueError, match=message):
        act()
