"""Normalizing flows."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from torch.testing import assert_close

from flowkernels.bases import make_base
from flowkernels.bijections import ActNorm, Compose, InvertibleConv1x1, Permutation
from flowkernels.flows import Flow, glow, realnvp

from .report import report


def trained(flow: Flow, x: torch.Tensor, steps: int = 3) -> Flow:
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        (-flow.log_prob(x).mean()).backward()
        optimizer.step()
    return flow


def saved(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state as a file keeps it."""
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    state: dict[str, torch.Tensor] = torch.load(file)
    return state


def moons(count: int) -> torch.Tensor:
    angle, side = torch.rand(count) * torch.pi, torch.randint(2, (count,)).float()
    x = torch.stack([angle.cos() + side, (1 - 2 * side) * angle.sin() + side / 2], -1)
    return x + 0.05 * torch.randn(count, 2)


@report(
    "rosinality/glow-pytorch/issues/6",
    "a loaded model starts its actnorms again from the first batch",
    "the first batch after loading changes nothing, nor after copying the state in another way, as "
    "averages of models do (the second was fixed)",
    outcome="fixed",
)
def _() -> None:
    x = torch.randn(64, 6)
    flow = trained(realnvp(6, layers=2, hidden=8), x)
    state = saved(flow)
    loaded, averaged = (realnvp(6, layers=2, hidden=8) for _ in range(2))
    loaded.load_state_dict(state)
    for mine, theirs in zip(averaged.state_dict().values(), state.values(), strict=True):
        mine.copy_(theirs)
    for twin in (loaded, averaged):
        twin.train()
        twin.log_prob(5 + 3 * torch.randn(64, 6))
        for name, value in twin.state_dict().items():
            assert_close(value, state[name], rtol=0, atol=0)


@report(
    "VincentStimper/normalizing-flows/pull/2",
    "sampling from a loaded model overwrites the trained actnorm parameters",
    "sampling changes no state, before and after loading",
)
def _() -> None:
    flow = trained(realnvp(4, layers=2, hidden=8), torch.randn(64, 4))
    loaded = realnvp(4, layers=2, hidden=8)
    loaded.load_state_dict(saved(flow))
    for model in (loaded, realnvp(4, layers=2, hidden=8)):
        before = copy.deepcopy(model.state_dict())
        model.sample(10)
        for name, value in model.state_dict().items():
            assert_close(value, before[name], rtol=0, atol=0)


@report(
    "ikostrikov/pytorch-flows/pull/17",
    "a random permutation is not part of the saved state; the loaded model has another",
    "permutations are saved, those of 1x1 convolutions among them",
)
def _() -> None:
    x = torch.randn(5, 8)
    for make in (lambda: Permutation(torch.randperm(8)), lambda: InvertibleConv1x1(8)):
        first, second = make(), make()
        second.load_state_dict(saved(first))
        assert_close(second(x)[0], first(x)[0])
        assert_close(second.inverse(x)[0], first.inverse(x)[0])


@report(
    "jfcrenshaw/pzflow/pull/124",
    "a flow cannot be pickled",
    "flows and distributions can be pickled and copied, and give the same values",
)
def _() -> None:
    x = torch.randn(16, 4)
    for base in ("normal", "vmf", "cauchy", "dirichlet"):
        flow = trained(realnvp(4, layers=2, hidden=8, base=base), x)
        for twin in (pickle.loads(pickle.dumps(flow)), copy.deepcopy(flow)):
            assert_close(twin.log_prob(x), flow.log_prob(x), rtol=0, atol=0)


@report(
    "vislearn/FrEIA/issues/76",
    "a first batch of one datum makes all outputs NaN",
    "a first batch of one datum leaves the scale at 1; values and gradients are finite",
)
def _() -> None:
    flow = realnvp(6, layers=2, hidden=8)
    flow.log_prob(torch.randn(1, 6)).sum().backward()
    assert all(p.grad.isfinite().all() for p in flow.parameters() if p.grad is not None)
    assert flow.log_prob(torch.randn(9, 6)).isfinite().all()


@report(
    "vislearn/FrEIA/issues/121",
    "a channel that is constant in the first batch makes the output NaN",
    "a constant channel is only shifted",
)
def _() -> None:
    actnorm = ActNorm(3)
    x = torch.randn(50, 3)
    x[:, 1] = 7.1
    z, log_det = actnorm(x)
    assert z.isfinite().all() and log_det.isfinite().all()
    assert actnorm.log_scale[1] == 0 and z[:, 1].abs().max() < 1e-5


@report(
    "rll/deepul/issues/6",
    "the first output of an actnorm is scaled, but its mean is not 0",
    "the first output has mean 0 and variance 1 in every channel",
)
def _() -> None:
    z, _ = ActNorm(4)(3 + 5 * torch.randn(100, 4, 3, 3, dtype=torch.float64))
    assert_close(z.mean((0, 2, 3)), torch.zeros(4, dtype=torch.float64), rtol=0, atol=1e-7)
    assert_close(z.var((0, 2, 3), correction=0), torch.ones(4, dtype=torch.float64))


@report(
    "openai/glow/issues/40",
    "training ends with 'Input is not invertible'",
    "after steps with a learning rate that is far too high, the convolution is still inverted",
)
def _() -> None:
    conv = InvertibleConv1x1(8).double()
    optimizer = torch.optim.SGD(conv.parameters(), lr=0.5)
    x = torch.randn(32, 8, 2, 2, dtype=torch.float64)
    for _ in range(20):
        optimizer.zero_grad()
        z, log_det = conv(x)
        (z.square().mean() - log_det.mean() / 64).backward()
        optimizer.step()
    z, log_det = conv(x)
    back, inverse = conv.inverse(z)
    assert_close(back, x, rtol=1e-7, atol=1e-7)
    assert_close(log_det, -inverse)


@report(
    "didriknielsen/survae_flows/issues/16",
    "nothing keeps the kernel of a 1x1 convolution from becoming singular",
    "the kernel is PL(U + diag(exp)): its log-det is finite for all finite parameters",
)
def _() -> None:
    conv = InvertibleConv1x1(5).double()
    x = torch.randn(4, 5, dtype=torch.float64)
    for _ in range(20):
        with torch.no_grad():
            for parameter in conv.parameters():
                parameter.normal_(0, 3)
        columns = conv(torch.eye(5, dtype=torch.float64))[0]
        want = torch.linalg.slogdet(columns).logabsdet
        assert_close(conv(x)[1], want.expand(4), rtol=1e-7, atol=1e-7)


@report(
    "karpathy/pytorch-normalizing-flows/issues/9",
    "the loss of Glow on two moons sometimes becomes NaN",
    "the loss stays finite and falls for ten seeds, at a high learning rate",
)
def _() -> None:
    for seed in range(10):
        torch.manual_seed(seed)
        x = moons(256)
        flow = realnvp(2, layers=4, hidden=16)
        before = flow.log_prob(x).mean().item()
        trained(flow, x, steps=40)
        after = flow.log_prob(x).mean()
        assert after.isfinite() and after > before


@report(
    "vislearn/FrEIA/issues/101",
    "couplings of one channel (grey images) fail inside the network",
    "grey images are squeezed before the first coupling; a flow on R^1 is refused with a reason",
)
def _() -> None:
    flow = glow((1, 8, 8), levels=2, steps=1, hidden=8)
    assert flow.log_prob(torch.randint(256, (2, 1, 8, 8), dtype=torch.uint8)).shape == (2,)
    with pytest.raises(ValueError, match="dim must be at least 2"):
        realnvp(1)


@report(
    "htjb/margarine/pull/74",
    "couplings fail for an odd number of dimensions",
    "odd numbers of dimensions and channels work and are inverted",
)
def _() -> None:
    for flow, x in (
        (realnvp(5, layers=3, hidden=8), torch.randn(7, 5)),
        (
            glow((3, 4, 4), levels=1, steps=1, hidden=8, dequantize=False, base="normal"),
            torch.randn(7, 3, 4, 4),
        ),
    ):
        z, log_det = trained(flow, x)(x)
        back, inverse = flow.inverse(z)
        assert_close(back, x, rtol=1e-3, atol=1e-3)
        assert_close(log_det, -inverse, rtol=1e-3, atol=1e-3)


@report(
    "mj-will/aspire/issues/3",
    "the log density of a single point without a batch has the shape of the point and is wrong",
    "a single point gives one number, the same as in a batch",
)
def _() -> None:
    flow = trained(realnvp(3, layers=2, hidden=8), torch.randn(50, 3))
    x = torch.randn(4, 2, 3)
    assert flow.log_prob(x[0, 0]).shape == ()
    assert flow.log_prob(x).shape == (4, 2)
    assert_close(flow.log_prob(x[0, 0]), flow.log_prob(x)[0, 0])


@report(
    "bayesiains/nflows/issues/8",
    "draws are made on the CPU whatever the model's device",
    "every base draws on its device and in its dtype",
)
def _() -> None:
    for name in ("normal", "vmf", "power_spherical", "dirichlet", "cauchy", "isotropic_cauchy"):
        base = make_base(name, 4, 1.0)
        assert base.double().sample((3,)).dtype == torch.float64, name
        assert base.to("meta").sample((3,)).device.type == "meta", name


@report(
    "facebookresearch/flow_matching/issues/37",
    "'expected scalar type Double but found Float' from the depths of a layer",
    "the message names the argument, both dtypes and the conversion",
)
def _() -> None:
    flow = realnvp(3, layers=2, hidden=8)
    with pytest.raises(TypeError, match=r"x must have .* torch\.float32, got torch\.float64"):
        flow.log_prob(torch.randn(2, 3, dtype=torch.float64))
    assert flow.double().log_prob(torch.randn(2, 3).double()).dtype == torch.float64


@report(
    "probabilists/zuko/issues/55",
    "log-likelihoods are higher than those of the true density: it does not integrate to 1",
    "the density of a trained flow in the plane integrates to 1",
)
def _() -> None:
    flow = trained(realnvp(2, layers=4, hidden=16).double(), moons(256).double(), steps=30)
    side = torch.linspace(-12, 12, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        total = flow.log_prob(grid).exp().sum() * (side[1] - side[0]) ** 2
    assert_close(total.item(), 1.0, rtol=0, atol=2e-3)


@report(
    "phlippe/uvadlc_notebooks/issues/78",
    "users cannot tell in which order a squeeze puts its channels",
    "a flow's inverse restores the image exactly, for every size that halves",
)
def _() -> None:
    for shape in ((1, 4, 8), (3, 8, 4), (2, 12, 4)):
        flow = glow(shape, levels=2, steps=1, hidden=8)
        x = torch.randint(256, (3, *shape), dtype=torch.uint8)
        assert torch.equal(flow.inverse(flow(x)[0])[0], x)


@report(
    "danielward27/flowjax/pull/27",
    "a flow of one layer raises an error",
    "chains of one and of no bijection work",
)
def _() -> None:
    x = torch.randn(5, 4)
    assert realnvp(4, layers=1, hidden=8).log_prob(x).isfinite().all()
    z, log_det = Compose([])(x)
    assert torch.equal(z, x) and torch.equal(log_det, torch.zeros(5))


@report(
    "pytorch/pytorch/issues/28441",
    "the gradient of a Dirichlet log density is NaN when a coordinate is subnormal",
    "Dirichlet bases have their density in the latent; gradients are finite far out",
)
def _() -> None:
    for name in ("dirichlet", "dirichlet_alr"):
        for scale in (1.0, 100.0, 1e6):
            z = (scale * torch.randn(50, 5)).requires_grad_()
            make_base(name, 5, 1.0).log_prob(z).sum().backward()
            assert z.grad.isfinite().all(), (name, scale)


@report(
    "gudovskiy/cflow-ad/issues/32",
    "flows cannot be exported: loops and checks in their layers defeat the tracer",
    "torch.export captures RealNVP and Glow, with any batch size, with equal values",
)
def _() -> None:
    batch = {0: torch.export.Dim("batch", min=2)}
    images = torch.randint(256, (3, 1, 8, 8), dtype=torch.uint8)
    for flow, x in (
        (realnvp(4, layers=2, hidden=8), torch.randn(6, 4)),
        (glow((1, 8, 8), levels=2, steps=1, hidden=4), images),
    ):
        flow.eval()
        exported = torch.export.export(flow, (x,), dynamic_shapes=(batch,)).module()
        for rows in (x, x[:2]):
            assert_close(exported(rows), flow(rows))


@report(
    "pytorch/pytorch/issues/47906",
    "a custom op under autocast: 'expected scalar type Half but found Float'",
    "flows train under autocast; log densities stay in float32",
)
def _() -> None:
    x = torch.randn(32, 4)
    for base in ("normal", "vmf"):
        flow = realnvp(4, layers=2, hidden=8, base=base)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            log_prob = flow.log_prob(x)
        assert log_prob.dtype == torch.float32
        log_prob.mean().backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in flow.parameters())
