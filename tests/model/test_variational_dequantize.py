"""Learned dequantisation noise: its density, the bound that it tightens, its start."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from flowkernels.bases import StandardNormal
from flowkernels.bijections import (
    Compose,
    Dequantize,
    Logit,
    Multiscale,
    Standardize,
    VariationalDequantize,
)
from flowkernels.flows import Flow, glow


def images(count: int, channels: int = 1, side: int = 4, levels: int = 256) -> Tensor:
    return torch.randint(levels, (count, channels, side, side), dtype=torch.uint8)


@pytest.mark.parametrize(("channels", "levels"), [(1, 256), (3, 5)])
def test_a_new_layer_draws_uniform_noise(channels: int, levels: int) -> None:
    torch.manual_seed(0)
    layer, x = VariationalDequantize(channels, levels), images(600, channels, 4, levels)
    u, log_q = layer.rsample_and_log_prob(x)
    assert torch.equal(log_q, torch.zeros(600))
    torch.manual_seed(1)
    z, log_det = layer(x)
    assert_close(log_det, Dequantize(levels)(x)[1])
    # Kolmogorov's distance exceeds 1.95 / sqrt(n) with probability 0.001.
    for noise in (u, z * levels - x):
        values = noise.flatten().sort().values
        steps = torch.arange(1, len(values) + 1) / len(values)
        assert (values - steps).abs().max() < 1.95 / len(values) ** 0.5


def test_density_of_the_noise_is_that_of_the_map(randomize, jacobian_log_det) -> None:
    """log q = log N(e) - log|det du/de|, by autograd; and given the noise alone, by the inverse."""
    torch.manual_seed(0)
    layer = randomize(VariationalDequantize(1, levels=8, hidden=6, layers=5)).double()
    x, e = images(3, levels=8), torch.randn(3, 4, 2, 2, dtype=torch.float64)
    u, log_q = layer._noise(e, layer._features(layer._level(x)))
    assert_close(layer.log_prob(u, x), log_q, rtol=1e-9, atol=1e-9)
    for i in range(3):
        features = layer._features(layer._level(x[i : i + 1]))
        expected = jacobian_log_det(lambda e, f=features: layer._noise(e, f)[0], e[i : i + 1])
        normal = torch.distributions.Normal(0.0, 1.0).log_prob(e[i]).sum()
        assert_close(log_q[i : i + 1], normal - expected, rtol=1e-10, atol=1e-10)


def test_density_of_the_noise_has_mass_one(randomize) -> None:
    torch.manual_seed(0)
    layer, count = randomize(VariationalDequantize(1, levels=4, hidden=6)).double(), 100_000
    x = images(1, side=2, levels=4)
    with torch.no_grad():
        q = layer.log_prob(
            torch.rand(count, 1, 2, 2, dtype=torch.float64), x.expand(count, -1, -1, -1)
        ).exp()
    error = (q.std() / count**0.5).item()
    assert q.std() > 0.2  # not uniform
    assert error < 0.02
    assert abs(q.mean().item() - 1) < 4 * error


class Toy:
    """A density on [0, 1]^4, whose probabilities of the 16 images of 2 levels are known."""

    alpha, scale = 0.05, 0.9
    loc = torch.tensor([[[-1.0, 0.2], [0.5, 0.8]]])

    def __init__(self) -> None:
        self.images = torch.tensor(list(itertools.product(range(2), repeat=4)), dtype=torch.uint8)
        self.images = self.images.view(16, 1, 2, 2)

    def flow(self, dequantize: Dequantize) -> Flow:
        standard = Standardize(self.loc, torch.tensor(self.scale))
        layers = [Logit(self.alpha), standard, Multiscale([Compose([])], (1, 2, 2))]
        return Flow(
            Compose(layers), StandardNormal(4), event_shape=(1, 2, 2), dequantize=dequantize
        )

    def log_prob(self) -> Tensor:
        def below(y: Tensor) -> Tensor:
            z = (self.alpha + (1 - 2 * self.alpha) * y).logit()
            return torch.special.ndtr((z - self.loc) / self.scale)

        return (below((self.images + 1) / 2) - below(self.images / 2)).log().flatten(1).sum(1)


def test_training_tightens_the_bound_of_a_known_distribution() -> None:
    torch.manual_seed(0)
    toy, layer = Toy(), VariationalDequantize(1, levels=2, hidden=16)
    exact, many = toy.log_prob(), toy.images.repeat(300, 1, 1, 1)

    def gap(dequantize: Dequantize) -> Tensor:
        with torch.no_grad():
            return exact - toy.flow(dequantize).log_prob(many).view(300, 16).mean(0)

    uniform, before = gap(Dequantize(2)), gap(layer)
    assert uniform.min() > 0.1
    assert_close(before, uniform, rtol=0.2, atol=0.1)
    flow, batch = toy.flow(layer), toy.images.repeat(8, 1, 1, 1)
    optimizer = torch.optim.Adam(layer.parameters(), lr=1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        (-flow.log_prob(batch).mean()).backward()
        optimizer.step()
    trained = gap(layer)
    assert trained.min() > -0.02
    assert trained.mean() < 0.2 * uniform.mean()
    # The mean of p / q is P(x), whatever q.
    with torch.no_grad():
        ratio = (flow.log_prob(many).view(300, 16) - exact).exp()
    assert ratio.std() < 1
    assert_close(ratio.mean(), torch.tensor(1.0), rtol=0, atol=4 * ratio.std().item() / 4800**0.5)


@pytest.mark.parametrize("levels", [2, 7, 256])
def test_the_noise_stays_within_its_bin(levels: int, randomize) -> None:
    """Also where the networks send it to the end of the bin, in either direction."""
    torch.manual_seed(0)
    for dtype in (torch.float32, torch.float64):
        x = images(50, levels=levels)
        for shift in (-50.0, 50.0):
            layer = randomize(VariationalDequantize(1, levels, hidden=4)).to(dtype)
            for network in layer.networks:
                network[-1].bias.data[:2] = shift
            u, _ = layer.rsample_and_log_prob(x)
            z, log_det = layer(x)
            assert u.min() > 0
            assert u.max() < 1
            assert torch.equal(layer.inverse(z)[0], x.to(dtype))
            assert torch.equal(layer.centre(x)[0], Dequantize(levels).centre(x.to(dtype))[0])
            (z.sum() + log_det.sum()).backward()
            assert all(p.grad.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16, "autocast"])
def test_precisions(kind: torch.dtype | str, randomize) -> None:
    torch.manual_seed(0)
    layer, x = randomize(VariationalDequantize(3, hidden=8)), images(4, 3)
    if kind == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            z, log_det = layer(x)
    else:
        z, log_det = layer.to(kind)(x)
    dtype = torch.float64 if kind == torch.float64 else torch.float32
    assert z.dtype == log_det.dtype == dtype
    assert torch.equal(layer.inverse(z)[0], x.to(dtype))
    log_det.sum().backward()
    assert all(p.grad.any() for p in layer.parameters())
    assert layer(x.float())[0].dtype == torch.float32
    assert layer(x.double())[0].dtype == torch.float64


def test_noise_repeats_with_the_seed_and_the_state(randomize) -> None:
    torch.manual_seed(0)
    flow, x = randomize(glow((1, 4, 4), steps=1, hidden=4, dequantize="variational")), images(5)
    again = glow((1, 4, 4), steps=1, hidden=4, dequantize="variational").eval()
    again.load_state_dict(copy.deepcopy(flow.state_dict()))
    values = []
    channels_last = copy.deepcopy(flow).to(memory_format=torch.channels_last)
    for each in (flow, again, channels_last):
        torch.manual_seed(1)
        values.append(each.log_prob(x))
    assert torch.equal(values[0], values[1])
    assert_close(values[0], values[2])
    assert not torch.equal(values[0], flow.log_prob(x))


def test_flow_with_learned_noise(randomize) -> None:
    """Only `log_prob` draws noise; the other methods are those of the flow with uniform noise."""
    torch.manual_seed(0)
    flow, x = glow((3, 4, 4), steps=1, hidden=4, dequantize="variational"), images(5, 3)
    flow.log_prob(x).mean().backward()  # starts the actnorms
    randomize(flow)
    same = glow((3, 4, 4), steps=1, hidden=4, dequantize="uniform").eval()
    same.load_state_dict({k: v for k, v in flow.state_dict().items() if "dequantize." not in k})
    assert torch.equal(flow(x)[0], same(x)[0])
    assert torch.equal(flow.inverse(flow(x)[0])[0], x.float())
    assert flow.sample(2).shape == (2, 3, 4, 4)
    assert flow.log_prob(x.view(5, 1, 3, 4, 4)).shape == (5, 1)
    flow.zero_grad()
    flow.log_prob(x).mean().backward()
    assert all(p.grad.any() for p in flow.dequantize.parameters())


def test_what_glow_takes_as_dequantisation() -> None:
    def kind(dequantize: bool | str | Dequantize) -> type | None:
        flow = glow((3, 4, 4), steps=1, hidden=4, dequantize=dequantize)
        return None if flow.dequantize is None else type(flow.dequantize)

    assert kind(True) is kind("uniform") is Dequantize
    assert kind("variational") is VariationalDequantize
    assert kind(False) is None
    own = VariationalDequantize(3, levels=8, hidden=5, layers=1)
    assert glow((3, 4, 4), steps=1, hidden=4, dequantize=own).dequantize is own


def test_compiles_to_one_graph(randomize) -> None:
    torch.manual_seed(0)
    layer, x = randomize(VariationalDequantize(1, hidden=4, layers=2)), images(5)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.manual_seed(1)
    expected = layer(x)
    torch.manual_seed(1)
    for ours, eager in zip(compiled(x), expected, strict=True):
        assert_close(ours, eager)


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 1, 4, 5), torch.uint8, r"x must have shape \(B, 1, H, W\) with even H and W, got"),
        ((2, 1, 3, 4), torch.uint8, r"x must have shape \(B, 1, H, W\) .*got \(2, 1, 3, 4\)"),
        ((2, 3, 4, 4), torch.uint8, r"x must have shape \(B, 1, H, W\) .*got \(2, 3, 4, 4\)"),
        ((2, 4), torch.uint8, r"x must have shape \(B, 1, H, W\) .*got \(2, 4\)"),
        ((2, 1, 4, 4), torch.float32, r"x must hold whole levels 0, ..., 255, got 0.5"),
    ],
)
def test_wrong_images(shape: tuple[int, ...], dtype: torch.dtype, message: str) -> None:
    layer, x = VariationalDequantize(1), torch.full(shape, 0.5).to(dtype)
    for method in (layer, layer.rsample_and_log_prob):
        with pytest.raises(ValueError, match=f"^VariationalDequantize: {message}"):
            method(x)


def test_wrong_noise() -> None:
    layer, x = VariationalDequantize(1), images(2)
    with pytest.raises(ValueError, match=r"u must have the shape of x, \(2, 1, 4, 4\), got \(2,\)"):
        layer.log_prob(torch.rand(2), x)
    with pytest.raises(TypeError, match="u must be floating point, got"):
        layer.log_prob(x, x)


def test_an_empty_batch() -> None:
    layer = VariationalDequantize(1)
    z, log_det = layer(images(0))
    assert (z.shape, log_det.shape) == ((0, 1, 4, 4), (0,))
    assert isinstance(layer, nn.Module)
