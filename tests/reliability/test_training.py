"""The short form of the campaign `training`."""

from pathlib import Path

import pytest

from . import training_kills, training_processes, training_trouble
from .campaign import Outcome
from .runs import Moments, in_child, watched


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with the undisturbed run, the number of its events, and its time."""
    folder = tmp_path_factory.mktemp("training")
    ended = in_child(lambda: watched(folder / "whole", Moments()))
    assert ended.code == 0, ended.said
    return folder, ended.said, ended.seconds


def test_killed_and_resumed(whole):
    folder, events, seconds = whole
    outcome = Outcome({})
    training_kills.kills(outcome, folder, events, seconds, count=6, seed=1)
    assert outcome.findings == []
    assert outcome.figures["kills"] == 6
    assert outcome.figures["resumed bit for bit"] == outcome.figures["runs killed"] >= 4


def test_a_difference_would_be_found(whole):
    """A resumed run that lost a step must not pass for the same."""
    from .runs import SETTINGS, same, train

    folder: Path = whole[0]
    config = SETTINGS.__class__(**{**SETTINGS.to_dict(), "epochs": 2})
    assert in_child(lambda: train(folder / "shorter", config)).code == 0
    assert same(folder / "whole", folder / "shorter") is not None


@pytest.mark.parametrize("part", ["file_limit", "full_disk", "clocks"])
def test_trouble_that_can_be_resumed(whole, part):
    folder, outcome = whole[0], Outcome({})
    getattr(training_trouble, part)(outcome, folder, folder / "whole")
    assert outcome.findings == []
    if outcome.skipped:
        pytest.skip(outcome.skipped[0])
    assert outcome.figures


@pytest.mark.parametrize("part", ["read_only", "folder_removed"])
def test_trouble_with_the_folder(whole, part):
    outcome = Outcome({})
    getattr(training_trouble, part)(outcome, whole[0])
    assert outcome.findings == []
    if outcome.skipped:
        pytest.skip(outcome.skipped[0])
    assert outcome.figures


def test_terminated_politely(whole):
    outcome = Outcome({})
    training_processes.signals(outcome, whole[0], ("SIGTERM",))
    assert outcome.findings == []


@pytest.mark.slow
def test_a_lost_process_ends_the_other(whole):
    outcome = Outcome({})
    training_processes.lost_rank(outcome, whole[0], lost=1)
    assert outcome.findings == []


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch(whole):
    outcome = Outcome({})
    training_processes.twice_the_batch(outcome, whole[0])
    assert outcome.findings == []
