"""A run small enough to be trained within a test."""

import logging
from dataclasses import replace

import pytest
import torch

from flowkernels.experiments.training import RunConfig

TINY = RunConfig(
    data="digits",
    base="normal",
    levels=1,
    steps=1,
    hidden=4,
    epochs=3,
    steps_per_epoch=4,
    batch_size=32,
    val_size=100,
    warmup_steps=2,
    checkpoint_every=1,
    log_every=3,
    accelerator="cpu",
    threads=1,
)


@pytest.fixture
def tiny():
    """Its configuration, with changes."""
    return lambda **changes: replace(TINY, **changes)


class Logged(logging.Handler):
    """The messages that a test's code has logged, a line each."""

    text = ""

    def emit(self, record):
        self.text += f"{self.format(record)}\n"


@pytest.fixture
def logged():
    """What is logged during the test; the plugin with pytest's own fixture is off."""
    handler = Logged()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def one_quiet_thread():
    """One thread, as in the processes that tests start: sums depend on the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(f"{name}.utilities.rank_zero").setLevel(logging.ERROR)
    yield
    torch.set_num_threads(threads)
