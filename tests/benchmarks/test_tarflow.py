"""The TarFlow of the benchmarks: a bijection whose tokens depend on those before them only."""

import gzip
import itertools
import json
import math
import struct

import pytest
import torch
from torch import Tensor

pytest.importorskip("lightning", reason="the benchmark needs the extra `train`")

from benchmarks import tarflow
from benchmarks.tarflow_model import CausalBlock, CausalTransformer, TarFlow
from flowkernels.bases import StandardNormal
from flowkernels.bijections import Dequantize
from flowkernels.flows import Flow

EVENT = (1, 6, 4)
SCALES = ("exp", "tanh", "shifted_softplus")


def random_flow(**options) -> TarFlow:
    """In float64, with random last layers, which start at zero."""
    sizes = {"patch": 2, "width": 8, "blocks": 3, "layers": 2, "heads": 2} | options
    flow = TarFlow(EVENT, **sizes).double()
    for block in flow.blocks:
        for each in block.network.parameters_of.parameters():
            torch.nn.init.normal_(each, std=0.3)
    return flow


def images(count: int = 5) -> Tensor:
    return torch.randn(count, *EVENT, dtype=torch.float64)


@pytest.mark.parametrize("scale_fn", SCALES)
def test_forward_and_inverse_are_inverse(scale_fn):
    flow, x = random_flow(scale_fn=scale_fn), images()
    z, log_det = flow(x)
    back, log_det_back = flow.inverse(z)
    assert (z.sort(1)[0] - x.flatten(1).sort(1)[0]).abs().max() > 0.1
    assert (back - x).abs().max() < 1e-10
    assert (log_det + log_det_back).abs().max() < 1e-10


@pytest.mark.parametrize("scale_fn", SCALES)
@pytest.mark.parametrize("direction", ["forward", "inverse"])
def test_the_log_det_is_that_of_the_jacobian(direction, scale_fn):
    flow = random_flow(scale_fn=scale_fn)
    x = images(1)
    value = x if direction == "forward" else flow(x)[0].detach()
    mapped = getattr(flow, direction)
    jacobian = torch.func.jacrev(lambda v: mapped(v)[0], chunk_size=1)(value)
    expected = torch.linalg.slogdet(jacobian.reshape(24, 24)).logabsdet
    log_det = mapped(value)[1]
    assert log_det.shape == (1,)
    assert log_det.abs() > 0.1
    assert (log_det - expected).abs() < 1e-10


def test_parameters_depend_on_the_tokens_before_only():
    network = CausalTransformer(5, 3, width=8, layers=2, heads=2).double()
    torch.nn.init.normal_(network.parameters_of.weight)
    x = torch.randn(1, 5, 3, dtype=torch.float64)
    dependence = torch.func.jacrev(network, chunk_size=1)(x).abs().amax((0, 2, 3, 5))
    assert torch.equal(dependence > 0, torch.ones(5, 5).tril(-1).bool())


@pytest.mark.parametrize("backward", [False, True])
def test_a_block_reads_the_sequence_in_its_order(backward):
    network = CausalTransformer(4, 3, width=8, layers=1, heads=2).double()
    torch.nn.init.normal_(network.parameters_of.weight)
    block = CausalBlock(network, backward=backward)
    x = torch.randn(1, 4, 3, dtype=torch.float64)
    jacobian = torch.func.jacrev(lambda x: block(x)[0], chunk_size=1)(x)
    dependence = jacobian.abs().amax((0, 2, 3, 5)) > 0
    lower = torch.ones(4, 4).tril().bool()
    assert torch.equal(dependence, lower.T if backward else lower)


@pytest.mark.parametrize("context", [0, 3])
def test_cached_keys_and_values_give_the_parameters_of_the_whole_pass(context):
    network = CausalTransformer(7, 3, width=8, layers=3, heads=2, context=context).double()
    torch.nn.init.normal_(network.parameters_of.weight)
    x = torch.randn(2, 7, 3, dtype=torch.float64)
    given = torch.randn(2, context, dtype=torch.float64) if context else None
    whole, caches = network(x, given), network.caches()
    for position in range(6):
        params = network.after(x[:, position], position, caches, given)
        assert (params - whole[:, position + 1]).abs().max() < 1e-12
        assert all(cache.keys.shape == (2, 2, position + 1, 4) for cache in caches)
    assert whole[:, 0].abs().max() == 0


def test_turns_end_with_the_time_of_training():
    """A clock of one second a step, and 12 seconds of training."""
    event, seconds = (1, 4, 4), iter(range(1000))
    flow = TarFlow(event, patch=2, width=4, blocks=1, layers=1, heads=1)
    levels = torch.randint(256, (64, *event), dtype=torch.uint8)
    runs = {
        name: tarflow.Training(
            Flow(flow, StandardNormal(16), event_shape=event, dequantize=Dequantize()),
            tarflow.shuffled(levels, 8, seed=0),
            rate,
            limit=12,
            seed=0,
            clock=lambda: float(next(seconds)),
        )
        for name, rate in (("first", 1e-3), ("second", 1e-2))
    }
    tarflow.train(runs, levels, checkpoints=2)
    for run in runs.values():
        assert run.steps == run.spent == 12
        assert [at for at, _ in run.curve] == [10, 12]
        # The cosine of the last step, 11 twelfths of the time.
        factor = min(0.12, (1 + math.cos(math.pi * 11 / 12)) / 2)
        assert run.optimizer.param_groups[0]["lr"] == pytest.approx(run.rate * factor)


def test_a_step_that_is_not_finite_raises():
    event = (1, 4, 4)
    flow = TarFlow(event, patch=2, width=4, blocks=1, layers=1, heads=1)
    torch.nn.init.constant_(flow.blocks[0].network.parameters_of.bias, torch.inf)
    levels = torch.randint(256, (8, *event), dtype=torch.uint8)
    of_images = Flow(flow, StandardNormal(16), event_shape=event, dequantize=Dequantize())
    run = tarflow.Training(of_images, tarflow.shuffled(levels, 8, 0), 1e-3, limit=1, seed=0)
    with pytest.raises(FloatingPointError, match="step 1: the loss is"):
        run.advance(1)
    assert run.steps == 0


def test_a_new_flow_only_rearranges():
    x = images()
    flow = TarFlow(EVENT, patch=2, width=8, blocks=2, layers=1, heads=2).double()
    z, log_det = flow(x)
    assert torch.equal(z.sort(1)[0], x.flatten(1).sort(1)[0])
    assert torch.equal(z[0, :4], x[0, 0, :2, :2].flatten())
    assert log_det.abs().max() == 0


def test_the_inverse_has_gradients():
    flow, z = random_flow(), torch.randn(2, 24, dtype=torch.float64)
    flow.inverse(z)[0].square().sum().backward()
    assert all(each.grad is not None for each in flow.parameters())
    z.requires_grad_()
    assert torch.autograd.gradcheck(flow.inverse, z)


def test_a_flow_given_a_context():
    flow = Flow(random_flow(context=2), StandardNormal(24).double(), event_shape=EVENT)
    x, context = images(4), torch.randn(4, 2, dtype=torch.float64)
    z, log_det = flow(x, context)
    assert (flow.inverse(z, context)[0] - x).abs().max() < 1e-10
    assert (flow(x, context[0])[1] - log_det)[0].abs() < 1e-12
    assert (flow(x, context[0])[1] - log_det)[1].abs() > 1e-3
    assert flow.sample(3, context).shape == (4, 3, *EVENT)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="multiples of patch = 5, got"):
        TarFlow((1, 28, 28), patch=5)
    with pytest.raises(ValueError, match="tokens"):
        TarFlow((1, 4, 4), patch=4)
    with pytest.raises(ValueError, match="width must be a multiple of 4 heads, got 6"):
        TarFlow((1, 4, 4), patch=2, width=6)
    with pytest.raises(ValueError, match="x must have shape"):
        random_flow()(torch.zeros(1, 1, 4, 6, dtype=torch.float64))
    with pytest.raises(ValueError, match="z must have shape"):
        random_flow().inverse(torch.zeros(1, 23, dtype=torch.float64))


@pytest.fixture
def folder(tmp_path):
    """Pictures of 8x8 in IDX files: two levels with noise."""
    for split, count in (("train", 300), ("t10k", 40)):
        levels = torch.tensor([40, 180]).repeat(4).repeat(8, 1).expand(count, 8, 8)
        noisy = (levels + torch.randint(20, (count, 8, 8))).to(torch.uint8)
        header = struct.pack(">HBB3I", 0, 8, 3, count, 8, 8)
        with gzip.open(tmp_path / f"{split}-images-idx3-ubyte.gz", "wb") as file:
            file.write(header + noisy.numpy().tobytes())
    return tmp_path


def test_the_command_trains_both_and_writes_what_it_found(folder, tmp_path, monkeypatch, capsys):
    sizes = "--patch 4 --width 8 --blocks 2 --layers 1 --heads 2 --batch 32 --checkpoints 2"
    output = tmp_path / "out"
    arguments = ["tarflow", "--minutes", "0.05", "--data-dir", str(folder), "--output", str(output)]
    monkeypatch.setattr("sys.argv", [*arguments, *sizes.split()])
    monkeypatch.setattr(tarflow, "TURN", 0.5)
    # A step takes 1/8 s: as many on every machine, and too few to learn 270 images by heart.
    readings = itertools.count()
    monkeypatch.setitem(tarflow.CLOCKS, "wall", lambda: next(readings) / 8)
    tarflow.main()
    found = json.loads((output / "tarflow.json").read_text())
    assert (output / "tarflow.png").stat().st_size > 1000
    printed = capsys.readouterr().out
    assert "bits per dimension" in printed
    # Uniform over 256 levels costs 8 bits, over the right 20 of them 4.3.
    for name in (tarflow.TARFLOW, tarflow.GLOW):
        own = found[name]
        seconds, bits = zip(*own["validation curve, seconds and bits per dimension"], strict=True)
        assert own["training seconds"] == seconds[-1] >= 3
        assert len(seconds) == 2
        assert own["training steps"] > 10
        assert 4.3 < own["test bits per dimension"] < 8
        assert abs(bits[-1] - own["test bits per dimension"]) < 0.5
    assert found["settings"]["width"] == 8
