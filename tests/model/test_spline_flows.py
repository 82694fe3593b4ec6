"""Couplings by splines, and the flows made of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowkernels import ops
from flowkernels.bijections import SplineCoupling, mlp_conditioner, start_as_identity
from flowkernels.flows import nsf
from flowkernels.ops.composite.rational_quadratic_spline import parameter_count


@pytest.mark.parametrize("boundary", ["linear", "circular", "none"])
@pytest.mark.parametrize("convention", ["nflows", "zuko"])
@pytest.mark.parametrize("transform", ["first", "second"])
def test_a_coupling_is_the_op_of_its_networks_output(boundary, convention, transform, randomize):
    coupled = 2 if transform == "first" else 3
    network = mlp_conditioner(5 - coupled, parameter_count(4, boundary) * coupled, (7,))
    options = {"bins": 4, "boundary": boundary, "convention": convention, "bound": 2.0}
    layer = randomize(SplineCoupling(network, transform=transform, **options))
    x = torch.randn(9, 5)
    z, log_det = layer(x)
    kept, moved = (x[:, 2:], x[:, :2]) if transform == "first" else (x[:, :2], x[:, 2:])
    want, want_log_det = ops.rational_quadratic_spline(moved, network(kept), **options)
    whole = [want, kept] if transform == "first" else [kept, want]
    assert torch.equal(z, torch.cat(whole, 1))
    assert torch.equal(log_det, want_log_det)
    back, back_log_det = layer.inverse(z)
    torch.testing.assert_close(back, x, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(back_log_det, -log_det, rtol=1e-3, atol=1e-3)


def test_a_coupling_of_images(jacobian_log_det):
    torch.manual_seed(0)
    layer = SplineCoupling(nn.Conv2d(1, 2 * 11, 3, padding=1), bins=4).double()
    x = torch.randn(2, 3, 3, 2, dtype=torch.float64)
    z, log_det = layer(x)
    assert z.shape == x.shape
    want = jacobian_log_det(lambda t: layer(t)[0], x)
    torch.testing.assert_close(log_det, want)


@pytest.mark.parametrize("mixing", ["lu", "permutation", "none"])
def test_log_det_is_that_of_the_jacobian(mixing, randomize, jacobian_log_det):
    torch.manual_seed(0)
    flow = randomize(nsf(5, layers=3, hidden=(6, 7), bins=5, mixing=mixing).double())
    x = torch.randn(4, 5, dtype=torch.float64)
    z, log_det = flow(x)
    torch.testing.assert_close(log_det, jacobian_log_det(lambda t: flow(t)[0], x))
    back, back_log_det = flow.inverse(z)
    torch.testing.assert_close(back, x, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(back_log_det, -log_det, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("convention", ["nflows", "zuko"])
def test_a_new_flow_is_linear(convention):
    """Its splines are lines: all that it does is to permute."""
    flow = nsf(6, layers=4, hidden=16, convention=convention, actnorm=False)
    x = 4 * torch.randn(200, 6)
    z, log_det = flow(x)
    torch.testing.assert_close(z.sort(1).values, x.sort(1).values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(log_det, torch.zeros(200), rtol=0, atol=1e-4)


def test_the_seed_gives_the_permutations():
    def order(seed):
        return nsf(16, layers=2, hidden=4, seed=seed).bijection.bijections[1].permutation

    assert torch.equal(order(3), order(3))
    assert not torch.equal(order(3), order(4))


def test_start_as_identity_is_exact_to_rounding():
    network = mlp_conditioner(3, 3 * 31, (8,))
    layer = SplineCoupling(network, bins=10, boundary="none", bound=4.0)
    start_as_identity(network[-1].bias, layer)
    x = 3 * torch.rand(50, 6)
    z, log_det = layer(x)
    torch.testing.assert_close(z, x, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(log_det, torch.zeros(50), rtol=0, atol=1e-5)
    with pytest.raises(RuntimeError, match="shape"):
        start_as_identity(torch.zeros(32), layer)  # no multiple of 31


def test_training_fits_a_density_that_affine_couplings_need_more_layers_for():
    """Two rings in the plane: the log-likelihood rises by more than a nat in 200 steps."""
    torch.manual_seed(0)
    angle, radius = 6.3 * torch.rand(2000), torch.tensor([1.0, 2.5])[torch.randint(2, (2000,))]
    data = torch.stack([angle.cos(), angle.sin()], 1) * radius[:, None]
    data = data + 0.1 * torch.randn_like(data)
    flow = nsf(2, layers=4, hidden=32)
    before = flow.log_prob(data).mean().item()
    optimizer = torch.optim.Adam(flow.parameters(), 3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        loss = -flow.log_prob(data[torch.randint(2000, (256,))]).mean()
        loss.backward()
        optimizer.step()
    after = flow.eval().log_prob(data).mean().item()
    assert after > before + 0.7
    sample = flow.sample(2000)
    assert sample.isfinite().all()
    lengths = sample.norm(dim=1)
    assert ((lengths - 1.75).abs() < 0.3).float().mean() < 0.15  # little between the rings


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast(dtype, randomize):
    torch.manual_seed(0)
    flow = randomize(nsf(6, layers=2, hidden=16))
    x = torch.randn(64, 6)
    with torch.autocast("cpu", dtype=dtype):
        got = flow.log_prob(x)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, flow.log_prob(x), rtol=0.1, atol=0.5)


def test_compile(randomize):
    """By torch's own code generator, whose compiler takes ten seconds for a layer."""
    torch.manual_seed(0)
    torch._dynamo.reset()
    flow = randomize(nsf(4, layers=1, hidden=8, context=2))
    x, context = torch.randn(16, 4), torch.randn(16, 2)
    compiled = torch.compile(flow.log_prob, fullgraph=True)
    torch.testing.assert_close(compiled(x, context), flow.log_prob(x, context))
