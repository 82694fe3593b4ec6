"""A run that is stopped by the time again and again gives the results of a run without a limit."""

import itertools
import math

import pytest

from flowkernels.experiments.data.tensor_file import load_tensors
from flowkernels.experiments.training import (
    ConfigError,
    Run,
    TimeLimit,
    TimeLimitError,
    fit,
    read_history,
)

from .same import assert_same_runs


def after(looks):
    """A limit that is over at the given look at the clock, which training takes at every step."""
    seconds = itertools.count()
    return TimeLimit(looks / 60, clock=lambda: next(seconds))


@pytest.mark.parametrize(
    ("pieces", "changes"),
    [
        ((1, 1, 1), {}),
        ((2, 3, 5), {"base": "vmf", "levels": 2, "checkpoint_every": 3}),
        ((5, 6), {"val_size": 0, "checkpoint_every": 100}),
        ((4, 4), {"log_every": 1, "checkpoint_every": 100}),  # at the ends of epochs
        ((7,), {"base": "resampled", "checkpoint_every": 100}),
    ],
)
def test_stopped_and_resumed_is_the_same(tmp_path, tiny, pieces, changes):
    config = tiny(**changes)
    fit(config, tmp_path / "whole", progress=False)
    run, done = Run(tmp_path / "run"), 0
    for steps in pieces:
        done += steps
        with pytest.raises(TimeLimitError, match=rf"stopped after step {done} of 12, saved") as up:
            fit(config, run.path, resume=True, progress=False, limit=after(steps))
        assert (up.value.step, up.value.total) == (done, 12)
        assert load_tensors(run.last)["global_step"] == done
    fit(config, run.path, resume=True, progress=False, limit=after(13 - done))
    if config.val_size:
        assert_same_runs(tmp_path / "whole", run.path)
    else:
        whole = Run(tmp_path / "whole")
        assert whole.history_file.read_text() == run.history_file.read_text()
        one, two = load_tensors(whole.last), load_tensors(run.last)
        assert all(
            value.equal(two["state_dict"][name]) for name, value in one["state_dict"].items()
        )


def test_no_validation_in_the_middle_of_an_epoch(tmp_path, tiny):
    run = Run(tmp_path / "run")
    with pytest.raises(TimeLimitError):
        fit(tiny(), run.path, progress=False, limit=after(3))
    assert not run.best.exists()
    assert read_history(run.history_file)["val_bpd"] == []
    with pytest.raises(TimeLimitError, match="after step 4"):
        fit(tiny(), run.path, resume=True, progress=False, limit=after(1))
    assert load_tensors(run.best)["global_step"] == 4


def test_the_last_step_finishes_the_run(tmp_path, tiny):
    run = Run(tmp_path / "run")
    module = fit(tiny(epochs=1), run.path, progress=False, limit=after(4))
    assert module.global_step == 4
    assert run.best.exists()


def test_no_time_is_time_for_one_step(tmp_path, tiny):
    with pytest.raises(TimeLimitError, match="after step 1 of 12"):
        fit(tiny(), tmp_path / "run", progress=False, limit=TimeLimit(0, clock=lambda: 0.0))


@pytest.mark.parametrize("minutes", [-1, math.nan, math.inf])
def test_wrong_times(minutes):
    with pytest.raises(ConfigError, match="minutes: expected a number from 0, got"):
        TimeLimit(minutes)
