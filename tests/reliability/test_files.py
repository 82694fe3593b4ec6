"""The short form of the campaign `files`."""

import os
import re
import signal

import pytest

from . import hostile_cases, hostile_checkpoints, hostile_files, mutated_files
from .campaign import Outcome

# Those that write gigabytes of zeros take seconds.
LONG = {
    "a_gzip_bomb_of_zeros",
    "a_gzip_bomb_behind_a_small_header",
    "a_download_that_is_a_bomb",
    "a_download_without_an_end",
    "packed_tensor",
    "packed_pickle",
}


def test_crafted_files(tmp_path):
    outcome = Outcome({})
    cases = [*hostile_checkpoints.CASES, *hostile_cases.CASES]
    hostile_files.crafted(outcome, tmp_path, [c for c in cases if c.__name__ not in LONG])
    assert outcome.findings == []
    assert outcome.figures["crafted files"] == len(cases) - len(LONG) > 40


def test_files_damaged_at_random(tmp_path):
    outcome = Outcome({})
    mutated_files.run(outcome, tmp_path, count=40, seed=1)
    assert outcome.findings == []
    figures = outcome.figures["damaged at random"]
    checked = [name for name in figures if name.endswith(("sums.ckpt", "cut.ckpt", ".part"))]
    assert [figures[name] for name in checked] == ["40 of 40 refused"] * 3


@pytest.mark.parametrize(
    ("act", "found"),
    [
        ("none", "expected an error with nonsense, got nothing"),
        ("traceback", "expected an error with nonsense, got ZeroDivisionError"),
        ("other", "expected an error with nonsense, got another message"),
        ("memory", r"took \d+ MiB"),
        ("outside", r"wrote outside of the folder: \['new', 'precious'\]"),
        ("executed", "executed what the file says"),
        ("crash", "the process ended with -9"),
    ],
)
def test_what_the_campaign_would_find(tmp_path, act, found):
    from flowkernels.experiments.data import DataError

    def planted(place):
        """nonsense"""

        def action():
            if act == "crash":
                os.kill(os.getpid(), signal.SIGKILL)
            if act == "memory":
                bytearray(b"x" * (400 << 20))
            if act == "traceback":
                raise ZeroDivisionError
            if act == "outside":
                (place / "outside" / "new").touch()
            if act == "executed":
                (place / "executed").touch()
            if act != "none":
                raise DataError("another message" if act == "other" else "nonsense")

        return action

    outcome = Outcome({})
    hostile_files.crafted(outcome, tmp_path, [planted])
    (finding,) = outcome.findings
    assert re.search(found, finding), finding
