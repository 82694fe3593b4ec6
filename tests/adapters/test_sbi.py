"""Flows as density estimators of the library sbi."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("sbi", reason="sbi is not installed (extra `sbi`)")

from sbi.neural_nets import posterior_nn as sbi_posterior_nn
from sbi.neural_nets.embedding_nets import CNNEmbedding

from flowkernels.adapters.sbi import FlowEstimator, likelihood_nn, posterior_nn
from flowkernels.bijections import Standardize
from flowkernels.flows import realnvp
from tests import forked

MODELS = ("maf", "maf_rqs", "nsf", "realnvp")
SMALL: dict[str, Any] = {"hidden_features": 16, "num_transforms": 2, "num_bins": 5}


@pytest.fixture(scope="module", autouse=True)
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """sbi's trainers write logs to the working directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("sbi"))
        yield


def simulations(
    theta_shape: tuple[int, ...] = (3,), x_shape: tuple[int, ...] = (5,), n: int = 50
) -> tuple[Tensor, Tensor]:
    return 4 + 2 * torch.randn(n, *theta_shape), -3 + 7 * torch.randn(n, *x_shape)


def trained_a_little(estimator: FlowEstimator, theta: Tensor, x: Tensor) -> FlowEstimator:
    """No longer a new flow, which is nearly the identity and reads no context."""
    optimizer = torch.optim.Adam(estimator.parameters(), lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        estimator.loss(theta, x).mean().backward()
        optimizer.step()
    return estimator.eval()


def small(model: str = "nsf", **options: Any) -> tuple[FlowEstimator, Tensor, Tensor]:
    theta, x = simulations()
    estimator = posterior_nn(model, **{**SMALL, **options})(theta, x)  # type: ignore[arg-type]
    return trained_a_little(estimator, theta, x), theta, x


# ---- the contract -----------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_shapes(model: str) -> None:
    estimator, theta, x = small(model)
    assert estimator.input_shape == (3,)
    assert estimator.condition_shape == (5,)
    assert estimator.loss(theta, x).shape == (50,)
    assert estimator.log_prob(theta[None], x).shape == (1, 50)
    assert estimator.log_prob(theta, x).shape == (1, 50)
    assert estimator.log_prob(torch.randn(7, 50, 3), x).shape == (7, 50)
    assert estimator.log_prob(torch.randn(7, 1, 3), x[:1]).shape == (7, 1)
    for shape in ((), (7,), (2, 4)):
        for count in (1, 6):
            assert estimator.sample(torch.Size(shape), x[:count]).shape == (*shape, count, 3)
            drawn, log_prob = estimator.sample_and_log_prob(torch.Size(shape), x[:count])
            assert drawn.shape == (*shape, count, 3)
            assert log_prob.shape == (*shape, count)


@pytest.mark.parametrize("model", MODELS)
def test_batches_broadcast(model: str) -> None:
    """Each pair of a sample and a condition has the value that it has alone."""
    estimator, _, x = small(model)
    theta = 4 + 2 * torch.randn(4, 6, 3)

    def alone(theta: Tensor, x: Tensor) -> float:
        return estimator.log_prob(theta[None, None], x[None]).item()

    want = torch.tensor([[alone(theta[i, j], x[j]) for j in range(6)] for i in range(4)])
    torch.testing.assert_close(estimator.log_prob(theta, x[:6]), want)
    torch.testing.assert_close(estimator.log_prob(theta, x[:6].expand(4, 6, 5)), want)
    moved = torch.stack([x[i : i + 6] for i in range(4)])
    want = torch.tensor([[alone(theta[i, j], x[i + j]) for j in range(6)] for i in range(4)])
    torch.testing.assert_close(estimator.log_prob(theta, moved), want)
    want = torch.tensor([[alone(theta[i, 0], x[j]) for j in range(6)] for i in range(4)])
    torch.testing.assert_close(estimator.log_prob(theta[:, :1], x[:6]), want)
    want = torch.tensor([[alone(theta[i, j], x[2]) for j in range(6)] for i in range(4)])
    torch.testing.assert_close(estimator.log_prob(theta, x[2:3]), want)


@pytest.mark.parametrize("model", MODELS)
def test_draws_belong_to_their_condition(model: str) -> None:
    estimator, _, x = small(model)
    drawn, log_prob = estimator.sample_and_log_prob(torch.Size((3, 4)), x[:6])
    again = estimator.log_prob(drawn.flatten(0, 1), x[:6]).unflatten(0, (3, 4))
    torch.testing.assert_close(log_prob, again, rtol=1e-4, atol=1e-4)


def test_draws_have_the_density() -> None:
    """The mean of q / p over draws of p is 1, for p and q given two conditions."""
    estimator, _, x = small()
    torch.manual_seed(1)
    drawn, log_p = estimator.sample_and_log_prob(torch.Size((20000,)), x[:1])
    with torch.no_grad():
        ratio = (estimator.log_prob(drawn, x[1:2]) - log_p).exp()
    assert abs(ratio.mean() - 1) < 5 * ratio.std() / 20000**0.5


@pytest.mark.parametrize("model", MODELS)
def test_gradients_reach_parameters_and_draws(model: str) -> None:
    estimator, theta, x = small(model)
    estimator.zero_grad()
    estimator.log_prob(theta, x).sum().backward()
    trained = [p for p in estimator.parameters() if p.requires_grad]
    assert trained
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    theta.requires_grad_()
    (grad,) = torch.autograd.grad(estimator.log_prob(theta[None], x[:1]).sum(), theta)
    assert grad.shape == theta.shape
    assert grad.abs().min() > 0
    drawn, _ = estimator.sample_and_log_prob(torch.Size((5,)), x[:2])
    assert drawn.requires_grad
    assert not estimator.sample(torch.Size((5,)), x[:2]).requires_grad


def test_latents() -> None:
    estimator, theta, x = small()
    z = estimator.inverse_transform(theta, x)
    assert z.shape == (50, 3)
    torch.testing.assert_close(estimator.net.inverse(z, x)[0], theta, rtol=1e-4, atol=1e-4)
    assert estimator.inverse_transform(theta[:, None], x[:4]).shape == (50, 4, 3)
    torch.testing.assert_close(estimator.inverse_transform(theta[0], x[:4])[2:3],
                               estimator.inverse_transform(theta[:1], x[2:3]))  # fmt: skip


@pytest.mark.parametrize("model", ["maf", "maf_rqs", "nsf"])
def test_one_parameter(model: str) -> None:
    theta, x = simulations((1,))
    build = posterior_nn(model, **SMALL)  # type: ignore[arg-type]
    if model == "maf":
        with pytest.warns(UserWarning, match="of one number, 'maf' can only model a Gaussian"):
            estimator = build(theta, x)
    else:
        estimator = build(theta, x)
    trained_a_little(estimator, theta, x)
    assert estimator.sample(torch.Size((7,)), x[:2]).shape == (7, 2, 1)
    grid = torch.linspace(-60, 60, 40001)[:, None, None]
    with torch.no_grad():
        mass = torch.trapezoid(estimator.log_prob(grid, x[:1]).exp()[:, 0], grid[:, 0, 0])
    assert abs(mass - 1) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_the_simulations(dtype: torch.dtype) -> None:
    theta, x = simulations()
    estimator = posterior_nn("nsf", **SMALL)(theta.to(dtype), x.to(dtype))
    assert estimator.log_prob(theta.to(dtype), x.to(dtype)).dtype == dtype
    assert estimator.sample((2,), x.to(dtype)).dtype == dtype


# ---- z-scoring and embedding networks ---------------------------------------------------


@pytest.mark.parametrize("z_score", ["independent", "structured", "none", None])
def test_z_scoring_is_sbis(z_score: Any) -> None:
    """The flow reads of theta and x what sbi's own flow reads of them."""
    theta, x = simulations()
    theta, x = theta * torch.tensor([1, 10, 100]), x + 3 * torch.arange(5)
    options: dict[str, Any] = {"z_score_theta": z_score, "z_score_x": z_score}
    ours = posterior_nn("nsf", **SMALL, **options)(theta, x)
    named: dict[str, Any] = {name: value or "none" for name, value in options.items()}
    theirs = sbi_posterior_nn("nsf", **SMALL, **named)(theta, x)
    torch.testing.assert_close(ours.embedding_net(x), theirs.embedding_net(x))
    first = ours.net.bijection.bijections[0]
    if z_score in (None, "none"):
        assert not isinstance(first, Standardize)
        assert isinstance(ours.embedding_net, nn.Identity)
        return
    for got, want in zip(first(theta), theirs.net._transform._transforms[0](theta), strict=True):
        torch.testing.assert_close(got, want)


def test_z_scoring_of_likelihoods() -> None:
    """The roles are exchanged: the flow is of x, the condition theta."""
    theta, x = simulations()
    estimator = likelihood_nn("maf", z_score_theta="none", z_score_x="independent")(theta, x)
    assert estimator.input_shape == (5,)
    assert estimator.condition_shape == (3,)
    assert isinstance(estimator.embedding_net, nn.Identity)
    z = estimator.net.bijection.bijections[0](x)[0]
    torch.testing.assert_close(z.std(0), torch.ones(5))
    estimator = likelihood_nn("maf", z_score_theta="independent", z_score_x="none")(theta, x)
    torch.testing.assert_close(estimator.embedding_net(theta).std(0), torch.ones(3))


def test_z_scoring_ignores_invalid_simulations() -> None:
    theta, x = simulations()
    x[3, 2], x[4, 1] = math.nan, math.inf
    estimator = posterior_nn("nsf", **SMALL)(theta, x)
    good = torch.tensor([i not in (3, 4) for i in range(50)])
    torch.testing.assert_close(estimator.embedding_net(x)[good].std(0), torch.ones(5))


class Counting(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.rows = network, 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        out: Tensor = self.network(x)
        return out


def test_embedding_runs_once_for_each_condition() -> None:
    theta, x = simulations()
    network = Counting(nn.Linear(5, 4))
    estimator = posterior_nn("nsf", **SMALL, embedding_net=network)(theta, x)
    network.rows = 0
    estimator.log_prob(torch.randn(100, 6, 3), x[:6])
    estimator.sample(torch.Size((100,)), x[:6])
    assert network.rows == 12


def test_embedding_is_trained_with_the_flow() -> None:
    theta, x = simulations()
    network = nn.Linear(5, 4)
    before = network.weight.detach().clone()
    trained_a_little(posterior_nn("nsf", **SMALL, embedding_net=network)(theta, x), theta, x)
    assert not torch.equal(network.weight, before)


def test_embedding_of_images() -> None:
    theta, x = simulations(x_shape=(16, 16))
    network = CNNEmbedding(input_shape=(16, 16), output_dim=6)
    estimator = posterior_nn("nsf", **SMALL, embedding_net=network, z_score_x="structured")(
        theta, x
    )
    assert estimator.condition_shape == (16, 16)
    assert estimator.log_prob(torch.randn(4, 50, 3), x).shape == (4, 50)
    assert estimator.sample(torch.Size((4,)), x[:2]).shape == (4, 2, 3)


def test_embedding_with_batch_normalisation() -> None:
    """Which fails for one condition while it trains."""
    theta, x = simulations()
    network = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    estimator = posterior_nn("nsf", **SMALL, embedding_net=network)(theta, x)
    assert estimator.loss(theta, x).shape == (50,)


def test_conditions_and_inputs_of_several_dimensions_are_flattened() -> None:
    theta, x = simulations((2, 2), (2, 3))
    estimator = trained_a_little(posterior_nn("nsf", **SMALL)(theta, x), theta, x)
    assert estimator.log_prob(theta, x).shape == (1, 50)
    drawn, log_prob = estimator.sample_and_log_prob(torch.Size((7,)), x[:3])
    assert drawn.shape == (7, 3, 2, 2)
    torch.testing.assert_close(estimator.log_prob(drawn, x[:3]), log_prob, rtol=1e-4, atol=1e-4)
    assert estimator.inverse_transform(theta, x).shape == (50, 4)


# ---- copies ------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_copies_and_pickles(model: str) -> None:
    estimator, theta, x = small(model)
    want = estimator.log_prob(theta, x)
    file = io.BytesIO()
    torch.save(estimator, file)
    file.seek(0)
    copies = [copy.deepcopy(estimator), pickle.loads(pickle.dumps(estimator))]
    copies.append(torch.load(file, weights_only=False))
    fresh = posterior_nn(model, **SMALL)(theta, x)  # type: ignore[arg-type]
    fresh.load_state_dict(estimator.state_dict())
    for each in (*copies, fresh):
        assert torch.equal(each.log_prob(theta, x), want)
        trained_a_little(each, theta, x)  # on its own
        assert not torch.equal(each.log_prob(theta, x), want)
        assert torch.equal(estimator.log_prob(theta, x), want)


def test_builders_are_pickled() -> None:
    builder = pickle.loads(pickle.dumps(posterior_nn("maf", **SMALL)))
    assert builder(*simulations()).input_shape == (3,)


# ---- errors ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "posterior_nn: model must be one of maf, .*, got 'mdn'", {"model": "mdn"}),
        (ValueError, "z_score_theta must be one of .*'transform", {"z_score_theta": "transform"}),
        (TypeError, "z_score_x must be one of .*True", {"z_score_x": True}),
        (ValueError, "hidden_features must be at least 1", {"hidden_features": 0}),
        (TypeError, "hidden_features must be an integer", {"hidden_features": [50, 50]}),
        (ValueError, "num_transforms must be at least 1", {"num_transforms": 0}),
        (ValueError, "num_bins must be at least 1", {"num_bins": 0}),
        (ValueError, "num_blocks must be at least 0", {"num_blocks": -1}),
        (TypeError, "embedding_net must be a module", {"embedding_net": torch.sin}),
        (ValueError, "bound must be positive", {"tail_bound": -1.0}),
        (ValueError, "min_width must be", {"min_bin_width": 1.0}),
        (TypeError, "options are num_blocks, .*, got dropout_probability",
         {"dropout_probability": 0.1}),
    ],
)  # fmt: skip
def test_builder_refuses(error: type[Exception], message: str, options: dict[str, Any]) -> None:
    with pytest.raises(error, match=message):
        posterior_nn(**({"model": "nsf"} | options))


@pytest.mark.parametrize("model", MODELS)
def test_builders_draw_no_random_numbers(model: str) -> None:
    before = torch.get_rng_state()
    posterior_nn(model)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)


def test_builder_refuses_simulations() -> None:
    theta, x = simulations()
    build = posterior_nn("nsf", **SMALL)
    with pytest.raises(ValueError, match=r"batch_theta must have shape \(n, \*event\), .*\(50,\)"):
        build(theta[:, 0], x)
    with pytest.raises(ValueError, match=r"batch_x must have .*\(1, 5\)"):
        build(theta, x[:1])
    with pytest.raises(TypeError, match=r"batch_x must be floating point, got torch\.int64"):
        build(theta, x.long())
    with pytest.raises(ValueError, match=r"posterior_nn: .* at least 2 .*realnvp"):
        posterior_nn("realnvp", **SMALL)(theta[:, :1], x)


def test_estimator_refuses() -> None:
    estimator, theta, x = small()
    with pytest.raises(ValueError, match=r"input must have shape \(batch, 3\) .*\(50, 2\)"):
        estimator.log_prob(theta[:, :2], x)
    with pytest.raises(ValueError, match=r"condition must have shape \(batch, 5\) .*\(5,\)"):
        estimator.log_prob(theta, x[0])
    with pytest.raises(RuntimeError, match=r"input and condition .*\(1, 50\) and \(1, 6\)"):
        estimator.log_prob(theta, x[:6])
    with pytest.raises(RuntimeError, match=r"\(1, 50\) and \(2, 50\)"):
        estimator.log_prob(theta, x.expand(2, 50, 5))
    flow = realnvp(3, layers=2, hidden=8, context=2)
    for net, shapes, message in [
        (flow, ((4,), (2,)), "net must have event_shape"),
        (flow, ((3,), (3,)), "condition_shape must be"),
        (realnvp(3, layers=2, hidden=8), ((3,), (2,)), "reads a context"),
    ]:
        with pytest.raises(ValueError, match=f"FlowEstimator: .*{message}"):
            FlowEstimator(net, *shapes)
    estimator.net.recompute = True
    with pytest.raises(ValueError, match=r"FlowEstimator: net must have recompute=False"):
        estimator.loss(theta, x)
    with pytest.raises(TypeError, match="FlowEstimator: net must be a Flow, got Linear"):
        FlowEstimator(nn.Linear(2, 2), (3,), (2,))  # type: ignore[arg-type]


def test_without_sbi() -> None:
    """The error names the extra; the package of adapters itself needs nothing."""
    code = (
        "import sys; sys.modules['sbi'] = None\n"
        "import flowkernels.adapters\n"
        "try: import flowkernels.adapters.sbi\n"
        "except ImportError as error: print(error)\n"
    )
    done = forked.run(code, cwd=Path.cwd())
    assert "needs sbi" in done.stdout
    assert "flowkernels[sbi]" in done.stdout
