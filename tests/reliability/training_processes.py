"""Runs of several processes: signals, two trainings in one folder, lost ranks, equal results."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from flowkernels.bijections import Dequantize
from flowkernels.experiments.data.tensor_file import load_tensors
from flowkernels.experiments.training import Run, RunConfig

from .campaign import Outcome
from .runs import PATIENCE, SETTINGS, in_child, same, train

# Longer than it takes to send it a signal.
_LONG = dataclasses.replace(SETTINGS, epochs=400, checkpoint_every=3)

# Trains with noise that depends on the image alone, so that the number of processes does not
# change what is trained; every process runs this file.
_QUIET = """
import json, sys
import torch
from flowkernels.bijections import Dequantize
from flowkernels.experiments.training import RunConfig, fit

torch.set_num_threads(1)
Dequantize.forward = Dequantize.centre
fit(RunConfig(**json.loads(sys.argv[2])), sys.argv[1], resume=True, progress=False)
"""


def run(outcome: Outcome, folder: Path, reference: Path) -> None:
    """All of them."""
    signals(outcome, folder)
    two_in_one_folder(outcome, folder)
    lost_rank(outcome, folder, lost=1)
    lost_rank(outcome, folder, lost=0)
    twice_the_batch(outcome, folder)
    other_devices(outcome, folder)


def command(folder: Path, config: RunConfig, *more: str) -> subprocess.Popen[str]:
    """The command `flowkernels train`, in a process group of its own."""
    options = [
        part
        for name, value in config.to_dict().items()
        if value is not None
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    return subprocess.Popen(
        [sys.executable, "-m", "flowkernels", "train", str(folder), *options, *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        # A shell gives background jobs an ignored Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def _trains(folder: Path, process: subprocess.Popen[str]) -> bool:
    """Wait until a run has written some rows."""
    history, deadline = Run(folder).history_file, time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if history.exists() and history.read_text().count("\n") > 12:
            return True
        time.sleep(0.05)
    return False


def _end(process: subprocess.Popen[str]) -> str:
    """Wait for a process, and kill what is left of its group; what it wrote to stderr."""
    try:
        return process.communicate(timeout=PATIENCE)[1]
    except subprocess.TimeoutExpired:
        return f"did not end within {PATIENCE:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def signals(outcome: Outcome, folder: Path, which: Sequence[str] = ("SIGTERM", "SIGINT")) -> None:
    """A polite end: status 130, the command that resumes, and an exact resumption."""
    shorter = dataclasses.replace(_LONG, epochs=25)
    reference = folder / "signals"
    in_child(lambda: train(reference, shorter))
    for name in which:
        target = folder / name
        process = command(target, shorter)
        ready = _trains(target, process)
        process.send_signal(getattr(signal, name))
        said = _end(process)
        again = in_child(lambda target=target: train(target, shorter))  # type: ignore[misc]
        problem = None if ready else "it did not start"
        if process.returncode != 130 or f"flowkernels train {target} --resume" not in said:
            problem = f"status {process.returncode}: {said[-200:]}"
        problem = problem or (f"resuming: {again.said}" if again.code else same(reference, target))
        if problem:
            outcome.findings.append(f"{name}: {problem}")
        else:
            outcome.figures[name] = "status 130, resumed bit for bit"


def two_in_one_folder(outcome: Outcome, folder: Path) -> None:
    """The second is told the first one's process and changes nothing."""
    target = folder / "shared"
    first = command(target, _LONG)
    _trains(target, first)
    second = command(target, _LONG, "--resume")
    said = _end(second)
    if second.returncode == 2 and f"process {first.pid} on " in said and first.poll() is None:
        outcome.figures["two runs in one folder"] = "the second ends with the first one's process"
    else:
        outcome.findings.append(f"two runs in one folder: {second.returncode}: {said[-300:]}")
    first.kill()
    _end(first)
    third = in_child(lambda: train(target, dataclasses.replace(_LONG, epochs=401)), kill_after=3)
    if "another training" in str(third.said):
        outcome.findings.append(f"the lock of a dead process holds: {third.said}")


def lost_rank(outcome: Outcome, folder: Path, *, lost: int) -> None:
    """One of two processes is killed; the other ends within seconds, with a message."""
    target = folder / f"lost{lost}"
    process = command(target, dataclasses.replace(_LONG, devices=2))
    what = f"two processes, rank {lost} killed"
    ready = _trains(target, process)
    children = _children(process.pid)
    if not ready or len(children) != 1:
        outcome.findings.append(f"{what}: the run did not start: {_end(process)[-300:]}")
        return
    os.kill(children[0] if lost else process.pid, signal.SIGKILL)
    begun = time.monotonic()
    other = process.pid if lost else children[0]
    while _lives(other) and time.monotonic() - begun < 60:
        process.poll()
        time.sleep(0.05)
    seconds = time.monotonic() - begun
    said = _end(process)
    if seconds > 20 or "another process of this training ended" not in said:
        outcome.findings.append(f"{what}: after {seconds:.0f} s: {said[-300:]}")
    else:
        outcome.figures[what] = f"the other ends after {seconds:.1f} s with a message"


def _children(process: int) -> list[int]:
    """The processes that a process started."""
    found = Path(f"/proc/{process}/task/{process}/children")
    return [int(word) for word in found.read_text().split()] if found.exists() else []


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _quiet(folder: Path, config: RunConfig) -> str | None:
    """Train without random noise; what went wrong."""
    if config.devices == 1:

        def quietly() -> None:
            Dequantize.forward = Dequantize.centre  # type: ignore[method-assign]
            train(folder, config)

        ended = in_child(quietly)
        return str(ended.said) if ended.code else None
    script = folder.parent / "quiet.py"
    script.write_text(_QUIET)
    done = subprocess.run(
        [sys.executable, str(script), str(folder), json.dumps(config.to_dict())],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    return done.stderr[-300:] if done.returncode else None


def twice_the_batch(outcome: Outcome, folder: Path) -> None:
    """Two processes train the same weights as one with twice the batch, but for rounding."""
    double = dataclasses.replace(SETTINGS, precision="64-true", batch_size=64)
    pair = dataclasses.replace(SETTINGS, precision="64-true", devices=2)
    for name, config in (("one", double), ("two", pair)):
        if problem := _quiet(folder / name, config):
            outcome.findings.append(f"two processes and one with twice the batch: {problem}")
            return
    one, two = (load_tensors(Run(folder / name).last)["state_dict"] for name in ("one", "two"))
    weights = [name for name, value in one.items() if value.is_floating_point()]
    worst = max(float((one[name] - two[name]).abs().max()) for name in weights)
    outcome.figures["two processes and one with twice the batch"] = (
        f"float64 weights differ by at most {worst:.1e}"
    )
    if not worst < 1e-12:
        outcome.findings.append(f"two processes and one with twice the batch differ by {worst:.1e}")


def other_devices(outcome: Outcome, folder: Path) -> None:
    """A run goes on with another number of processes."""
    for before, after in ((1, 2), (2, 1)):
        target = folder / f"devices{before}"
        begun = dataclasses.replace(SETTINGS, devices=before, epochs=1)
        longer = dataclasses.replace(SETTINGS, devices=after)
        problem = _quiet(target, begun) or _quiet(target, longer)
        state = None if problem else load_tensors(Run(target).last)
        what = f"begun by {before}, resumed by {after}"
        if state is None or state["global_step"] != 18:
            outcome.findings.append(f"{what}: {problem or state['global_step']}")  # type: ignore[index]
        elif not all(torch.isfinite(value).all() for value in state["state_dict"].values()):
            outcome.findings.append(f"{what}: the weights are not finite")
        else:
            outcome.figures[what] = "18 steps"
