"""The order of the images: complete, split among processes, and resumable anywhere."""

import pytest
import torch

from flowkernels.experiments.data import DataError, TensorBatches, load_dataset
from flowkernels.experiments.data.module import ImageDataModule

N = 23


def indices(batches) -> list[int]:
    return torch.cat(list(batches)).tolist()


def make(**options) -> TensorBatches:
    return TensorBatches(torch.arange(N), **{"batch_size": 4, "shuffle": True, **options})


def test_every_image_once_in_a_new_order_each_epoch():
    batches = make(seed=3)
    first = indices(batches)
    batches.set_epoch(1)
    second = indices(batches)
    assert sorted(first) == sorted(second) == list(range(N))
    assert first != second
    batches.set_epoch(0)
    assert indices(batches) == first


def test_order_depends_on_seed_and_not_on_global_state():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = indices(make(seed=1))
    assert torch.equal(before, torch.get_rng_state())
    assert first != indices(make(seed=2))
    # The second epoch of one seed differs from the first of the next.
    shifted = make(seed=0)
    shifted.set_epoch(1)
    assert indices(shifted) != first


@pytest.mark.parametrize("delivered", range(6))
def test_resumes_after_any_batch(delivered):
    whole = make(seed=5)
    whole.set_epoch(2)
    expected = [batch.tolist() for batch in whole]
    iterator = iter(whole)
    for _ in range(delivered):
        next(iterator)
    resumed = make(seed=5)
    resumed.load_state_dict(whole.state_dict())
    assert [batch.tolist() for batch in resumed] == expected[delivered:]
    # The next epoch starts at its beginning.
    resumed.set_epoch(3)
    assert sorted(indices(resumed)) == list(range(N))


def test_finished_epoch_is_not_repeated():
    whole = make()
    indices(whole)
    resumed = make()
    resumed.load_state_dict(whole.state_dict())
    resumed.set_epoch(1)
    assert len(indices(resumed)) == N


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_a_shuffled_epoch(world_size):
    parts = [make(rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(part) for part in parts}) == 1
    seen = [index for part in parts for index in indices(part)]
    assert set(seen) == set(range(N))
    assert len(seen) == -(-N // world_size) * world_size


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_repeat_nothing_without_shuffle(world_size):
    parts = [make(shuffle=False, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert sorted(index for part in parts for index in indices(part)) == list(range(N))


def test_lengths():
    assert len(make()) == 6
    assert len(make(drop_last=True)) == len(list(make(drop_last=True))) == 5
    assert len(make(drop_last=True, batch_size=100)) == 1
    assert len(make(max_batches=2)) == len(list(make(max_batches=2))) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"rank": 2, "world_size": 2}, "rank: expected 0 to 1 of world_size, got 2"),
        ({"world_size": 99}, "images: expected at least 99, got 23"),
        ({"max_batches": 0}, "max_batches: expected at least 1, got 0"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_module_holds_out_the_same_images_whatever_the_seed():
    digits = load_dataset("digits")
    first, second = (
        ImageDataModule(digits, batch_size=50, val_size=100, seed=seed) for seed in (0, 1)
    )
    assert torch.equal(first.val_images, second.val_images)
    assert len(first.train_images) == len(digits.train) - 100
    total = first.train_images.long().sum() + first.val_images.long().sum()
    assert int(total) == int(digits.train.long().sum())
    assert first.steps_in_epoch() == len(first.train_dataloader()) == 1337 // 50
    assert first.steps_in_epoch(2) == 669 // 50


def test_module_refuses_to_hold_out_everything():
    with pytest.raises(DataError, match=r"val_size: expected 0 to 1436 .* got 1437"):
        ImageDataModule(load_dataset("digits"), batch_size=8, val_size=1437)
