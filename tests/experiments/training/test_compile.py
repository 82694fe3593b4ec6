"""Training steps by torch.compile."""

import itertools

import pytest
import torch

from flowkernels.bijections import Dequantize
from flowkernels.experiments.training import (
    ConfigError,
    Run,
    TimeLimit,
    TimeLimitError,
    fit,
    read_history,
)

from .same import assert_same_runs


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({}, [32] * 11), ({"accumulate": 2}, [16] * 24), ({"base": "resampled"}, [32] * 11)],
)
def test_what_is_compiled(tmp_path, tiny, monkeypatch, changes, expected):
    """All steps but the first, from which ActNorm starts; no validation. In parts all of them."""
    made, sizes = [], []

    def compile(function, **options):
        made.append(options)

        def compiled(batch):
            assert torch.is_grad_enabled()
            sizes.append(len(batch))
            return function(batch)

        return compiled

    monkeypatch.setattr(torch, "compile", compile)
    module = fit(tiny(compile="on", **changes), tmp_path / "compiled", progress=False)
    assert made == [{"dynamic": False}]
    assert sizes == expected
    assert module._compiled is None
    fit(tiny(**changes), tmp_path / "plain", progress=False)
    assert len(made) == 1
    assert_same_runs(tmp_path / "compiled", tmp_path / "plain")


def test_a_resumed_run_is_compiled_from_its_first_step(tmp_path, tiny, monkeypatch):
    run, steps = Run(tmp_path / "run"), []
    fit(tiny(epochs=1), run.path, progress=False)
    monkeypatch.setattr(
        torch, "compile", lambda function, **_: lambda x: steps.append(1) or function(x)
    )
    fit(tiny(epochs=2, compile="on"), run.path, resume=True, progress=False)
    assert len(steps) == 4


def test_what_cannot_be_compiled(tmp_path, tiny, monkeypatch):
    def compile(function, **options):
        def failing(batch):
            raise torch._dynamo.exc.TorchDynamoException("no C++ compiler\nand more")

        return failing

    monkeypatch.setattr(torch, "compile", compile)
    message = r"compile: expected off, .* cannot be compiled here \(no C\+\+ compiler\)"
    with pytest.raises(ConfigError, match=message):
        fit(tiny(compile="on"), tmp_path / "run", progress=False)


@pytest.mark.slow
def test_compiled_steps(tmp_path, tiny, monkeypatch):
    """The numbers of plain steps up to rounding, and exact resumption, also with noise."""
    config = tiny(compile="on")
    fit(config, tmp_path / "whole", progress=False)
    run, seconds = Run(tmp_path / "run"), itertools.count()
    limit = TimeLimit(6 / 60, clock=seconds.__next__)
    with pytest.raises(TimeLimitError):
        fit(config, run.path, progress=False, limit=limit)
    torch.compiler.reset()  # as in a new process
    fit(config, run.path, resume=True, progress=False)
    assert_same_runs(tmp_path / "whole", run.path)

    monkeypatch.setattr(Dequantize, "forward", Dequantize.centre)
    scores = []
    for choice in ("on", "off"):
        settings = tiny(compile=choice, precision="64-true", log_every=1)
        fit(settings, tmp_path / choice, progress=False)
        scores.append(read_history(Run(tmp_path / choice).history_file))
    compiled, plain = scores
    for name in ("train_bpd", "val_bpd", "gradient_norm"):
        expected = [(step, pytest.approx(value, rel=1e-7)) for step, value in plain[name]]
        assert compiled[name] == expected
