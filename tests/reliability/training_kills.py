"""Campaign `training`: runs that are killed, starved, robbed of their folder or run twice."""

from __future__ import annotations

import random
import shutil
import tempfile
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path

from . import training_processes, training_trouble
from .campaign import Campaign, Outcome
from .runs import Moments, in_child, same, train, watched

# Half of the moments are in the middle of a file.
_KINDS = ("time", "byte", "byte", "sync", "rename")


def add_arguments(parser: ArgumentParser) -> None:
    """Options of the campaign."""
    parser.add_argument("--kills", type=int, default=50, help="of whole runs, at random moments")
    parser.add_argument("--seed", type=int, default=0)


def run(arguments: Namespace) -> Outcome:
    """Every part of the campaign."""
    outcome = Outcome({})
    folder = Path(tempfile.mkdtemp(prefix="flowkernels-training-"))
    try:
        reference = folder / "whole"
        ended = in_child(lambda: watched(reference, Moments()))
        if ended.code:
            outcome.findings.append(f"an undisturbed run: {ended.said}")
            return outcome
        kills(outcome, folder, ended.said, ended.seconds, arguments.kills, arguments.seed)
        training_trouble.run(outcome, folder, reference)
        training_processes.run(outcome, folder, reference)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def kills(
    outcome: Outcome,
    folder: Path,
    events: dict[str, int],
    seconds: float,
    count: int,
    seed: int,
) -> None:
    """Kill runs at random moments, some several times, and resume them."""
    chance = random.Random(seed)
    done: Counter[str] = Counter()
    runs = exact = trials = 0
    while sum(done.values()) < count:
        trials += 1
        if trials > 5 * count:
            outcome.findings.append("the runs end before their moments come")
            return
        target = folder / f"killed{trials}"
        # Every third run is killed again after it was resumed.
        planned = min(1 + 2 * (trials % 3 == 0), count - sum(done.values()))
        killed = sum(_kill(target, chance, events, seconds, done) for _ in range(planned))
        if not killed:
            shutil.rmtree(target)
            continue
        runs += 1
        ended = in_child(lambda target=target: train(target))  # type: ignore[misc]
        problem = f"resuming: {ended.said}" if ended.code else same(folder / "whole", target)
        left = [path.name for path in target.rglob("*.unfinished")]
        if problem is None and left:
            problem = f"leaves {left}"
        if problem is None:
            exact += 1
        else:
            outcome.findings.append(f"run {trials} (seed {seed}), killed {killed} times: {problem}")
        shutil.rmtree(target)
    outcome.figures |= {
        "kills": sum(done.values()),
        "kills by moment": dict(done),
        "runs killed": runs,
        "resumed bit for bit": exact,
    }


def _kill(
    target: Path,
    chance: random.Random,
    events: dict[str, int],
    seconds: float,
    done: Counter[str],
) -> bool:
    """Start or resume a run and kill it; whether it died before its end."""
    kind = chance.choice(_KINDS)
    if kind == "time":
        ended = in_child(lambda: train(target), kill_after=chance.uniform(0, seconds))
    else:
        moments = Moments(kind, chance.randrange(events[kind]))
        ended = in_child(lambda: watched(target, moments) and None)
    done[kind] += ended.code == -9
    return ended.code == -9


CAMPAIGN = Campaign(
    "training",
    "runs killed at random moments, full disks, lost folders, two runs in one folder, lost ranks",
    add_arguments,
    run,
)
