"""The data-dependent initialisation of ActNorm."""

from __future__ import annotations

import copy
import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.optim.swa_utils import AveragedModel
from torch.testing import assert_close

from flowkernels.bijections import (
    ActNorm,
    ActNormConv1x1,
    AffineCoupling,
    GlowStep,
    GlowSteps,
    conv_conditioner,
)


def statistics(z):
    z = z.transpose(0, 1).flatten(1)
    return z.mean(1), z.std(1, correction=0)


@pytest.mark.parametrize("shape", [(512, 3), (64, 3, 5), (16, 3, 8, 6)])
def test_first_training_batch_is_normalised(shape):
    layer = ActNorm(3)
    z, log_det = layer(40 + 1e-3 * torch.randn(shape, dtype=torch.float64).float())
    mean, std = statistics(z)
    # float32 resolves 4e-6 near 40, 1/250 of the standard deviation
    assert_close(mean, torch.zeros(3), rtol=0, atol=5e-3)
    assert_close(std, torch.ones(3), rtol=1e-3, atol=0)
    assert log_det.isfinite().all()


@pytest.mark.parametrize("use_buffers", [False, True])
def test_average_of_a_started_layer_does_not_start_again(use_buffers):
    layer = ActNorm(3)
    average = AveragedModel(layer, use_buffers=use_buffers)
    x = 5 + torch.randn(64, 3)
    layer(x)
    average.update_parameters(layer)
    want = copy.deepcopy(average.module.state_dict())
    average.train()
    average(torch.full((8, 3), torch.nan))
    average(2 * x)
    assert_close(average.module.state_dict(), want, rtol=0, atol=0)
    assert not average.module.awaits_start


def test_initialises_from_the_first_training_batch_only():
    layer = ActNorm(2)
    x = 3 + 2 * torch.randn(100, 2)
    assert torch.equal(layer.eval()(x)[0], x)
    assert not layer.initialized
    layer.train()
    first, _ = layer(x)
    assert layer.initialized
    assert torch.equal(layer(x)[0], first)
    assert_close(layer(x + 1)[0] - first, (1 / x.std(0, correction=0)).expand(100, 2))


@pytest.mark.parametrize("value", [0.0, 1.0, -1234.567, 1e30])
def test_constant_channel_is_centred_with_scale_one(value):
    layer = ActNorm(2)
    x = torch.stack([torch.full((64,), value), torch.randn(64)], dim=1)
    z, log_det = layer(x)
    assert torch.equal(layer.log_scale[:1], torch.zeros(1))
    assert z[:, 0].abs().max() <= 1e-6 * abs(value)
    assert log_det.isfinite().all()
    assert_close(z[:, 1].std(correction=0), torch.tensor(1.0))


def test_single_row_keeps_scale_one():
    layer = ActNorm(3)
    z, log_det = layer(torch.tensor([[1.0, -2.0, 3.0]]))
    assert not z.any()
    assert not log_det.any()


def test_tiny_data_is_still_normalised():
    layer = ActNorm(1)
    z, _ = layer(1e-9 * torch.randn(1000, 1))
    assert_close(z.std(correction=0), torch.tensor(1.0))


def test_empty_batch_does_not_initialise():
    layer = ActNorm(2)
    layer(torch.zeros(0, 2))
    assert not layer.initialized
    assert layer.awaits_start


def test_rejects_non_finite_first_batch():
    with pytest.raises(ValueError, match="first training batch must be finite"):
        ActNorm(2)(torch.tensor([[1.0, float("nan")], [0.0, 1.0]]))


def test_initialisation_survives_state_dict_and_copy():
    layer = ActNorm(2)
    layer(5 + torch.randn(50, 2))
    fresh = ActNorm(2)
    fresh.load_state_dict(layer.state_dict())
    x = torch.randn(10, 2)
    for twin in (fresh, copy.deepcopy(layer)):
        assert twin.training
        assert torch.equal(twin(x)[0], layer(x)[0])
    fresh.load_state_dict(ActNorm(2).state_dict())
    assert fresh.awaits_start


@pytest.mark.parametrize("steps", [1, 3])
def test_glow_steps_initialise_from_their_inputs(steps):
    def step():
        coupling = AffineCoupling(conv_conditioner(2, 4, hidden=8))
        torch.nn.init.normal_(coupling.conditioner[-1].weight, std=0.3)
        return GlowStep(4, coupling)

    batched = GlowSteps(step() for _ in range(steps))
    x = 7 + 3 * torch.randn(32, 4, 6, 6)
    reached = x
    batched(x)
    for each in batched.steps:
        assert each.mix.actnorm.initialized
        normal, _ = each.mix.actnorm(reached)
        mean, std = statistics(normal)
        assert_close(mean, torch.zeros(4), rtol=0, atol=1e-5)
        assert_close(std, torch.ones(4), rtol=1e-5, atol=0)
        reached, _ = each(reached)


def test_folded_layer_equals_separate_layers():
    layer = ActNormConv1x1(5)
    x = 2 + 3 * torch.randn(8, 5, 4, 4)
    z, log_det = layer(x)
    normal, first = layer.actnorm(x)
    mixed, second = layer.conv(normal)
    assert_close(z, mixed, rtol=0, atol=1e-5)
    assert_close(log_det, first + second)


def _rank(rank, folder, x):
    os.environ.update(GLOO_SOCKET_IFNAME="lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    layer = ActNorm(3)
    layer(x.chunk(2)[rank])
    torch.save(layer.state_dict(), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available(), reason="this torch has no torch.distributed")
def test_ranks_initialise_from_the_global_batch(tmp_path):
    x = torch.cat([torch.randn(20, 3), 10 + 5 * torch.randn(20, 3)])
    mp.spawn(_rank, args=(str(tmp_path), x), nprocs=2)
    whole = ActNorm(3)
    whole(x)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for name, value in whole.state_dict().items():
        assert torch.equal(ranks[0][name], ranks[1][name])
        assert_close(ranks[0][name], value)
