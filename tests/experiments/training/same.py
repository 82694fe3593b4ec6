"""Compares two runs exactly."""

import torch

from flowkernels.experiments.data.tensor_file import load_tensors
from flowkernels.experiments.training import Run


def assert_same(a, b, where=""):
    """Compare nested values; tensors bit for bit."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}/{index}")
    else:
        assert a == b, where


def assert_same_runs(a, b):
    """Check that metrics and final state (weights, optimiser, noise) of both runs are equal."""
    a, b = Run(a), Run(b)
    assert a.history_file.read_text() == b.history_file.read_text()
    for which in ("last", "best"):
        first, second = (load_tensors(getattr(run, which)) for run in (a, b))
        assert_same(first, second)
