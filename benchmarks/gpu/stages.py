"""A stage: one process with a limit of its own, and processes that work beside it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import tree


@dataclass
class Stage:
    """What is run and for how long.

    section  where in the result the lines go that it writes to `lines`, one JSON object each
    lines    a file, or None for a stage that is judged by its exit status alone
    needs    stages that must have passed before
    missing  why it cannot run on this machine, if so
    beside   what warms caches meanwhile: ended with the stage, whatever it has reached
    """

    name: str
    command: list[str]
    seconds: float
    environment: dict[str, str] = field(default_factory=dict)
    section: str = ""
    lines: Path | None = None
    needs: tuple[str, ...] = ()
    missing: str | None = None
    beside: tuple[Stage, ...] = ()
    in_tree: bool = True

    @property
    def log_name(self) -> str:
        """The file of its output."""
        return f"{self.name.replace(' ', '-')}.log"


@dataclass
class Outcome:
    """How a stage ended."""

    name: str
    status: str  # passed, failed, timed out, skipped, interrupted
    seconds: float = 0.0
    limit: float = 0.0
    reason: str = ""
    tail: str = ""

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        facts = {k: v for k, v in vars(self).items() if v}
        for key in ("seconds", "limit"):
            if key in facts:
                facts[key] = round(facts[key], 1)
        return facts


class Interrupted(Exception):
    """The run is to end now."""


def _start(stage: Stage, logs: Path) -> subprocess.Popen[bytes]:
    with (logs / stage.log_name).open("w") as file:
        # A group of its own, not a session: whoever ends the session of the run ends it, too.
        return subprocess.Popen(
            stage.command, cwd=tree.TREE if stage.in_tree else tree.ROOT,
            env={**os.environ, **stage.environment}, stdout=file, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, process_group=0,
        )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and those that it started."""
    for number, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue


def _refusal(stage: Stage, left: float, done: dict[str, Outcome]) -> str | None:
    """Why a stage is not started, if so."""
    if stage.missing:
        return stage.missing
    for need in stage.needs:
        if need not in done or done[need].status != "passed":
            return f"it needs {need!r}, which did not pass"
    if left < min(8.0, stage.seconds):
        return f"the time was over: {left:.0f} s were left"
    return None


def run(
    stage: Stage,
    logs: Path,
    left: float,
    done: dict[str, Outcome],
    watch: Callable[[], None] = lambda: None,
    poll: float = 0.5,
) -> Outcome:
    """Runs a stage for at most its own limit and the `left` seconds; `watch` is called meanwhile.

    Raises Interrupted where `watch` does, after every process has ended.
    """
    if reason := _refusal(stage, left, done):
        return Outcome(stage.name, "skipped", reason=reason)
    limit = min(stage.seconds, left)
    start = time.monotonic()
    processes = [_start(stage, logs)]
    code: int | None = None
    try:
        processes += [_start(other, logs) for other in stage.beside if not other.missing]
        while code is None and time.monotonic() - start < limit:
            try:
                code = processes[0].wait(timeout=poll)
            except subprocess.TimeoutExpired:
                watch()
    finally:
        for process in processes:
            _end(process)
    took = time.monotonic() - start
    tail = (logs / stage.log_name).read_text(errors="replace")[-3000:]
    if code is None:
        return Outcome(stage.name, "timed out", took, limit, f"ended after {took:.0f} s", tail)
    if code:
        return Outcome(stage.name, "failed", took, limit, f"exit status {code}", tail)
    return Outcome(stage.name, "passed", took, limit, tail=tail[-600:])
