"""A stage: a process with a time limit, and background processes that run during it."""

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
    """A command with its time limit.

    section     section of the result for the lines that the stage writes, one JSON object each
    lines       file of these lines; None if only the exit status matters
    needs       stages that must have passed before
    missing     why it cannot run on this machine, or None
    background  stages that fill caches during this one; terminated when it ends
    """

    name: str
    command: list[str]
    seconds: float
    environment: dict[str, str] = field(default_factory=dict)
    section: str = ""
    lines: Path | None = None
    needs: tuple[str, ...] = ()
    missing: str | None = None
    background: tuple[Stage, ...] = ()
    in_tree: bool = True

    @property
    def log_name(self) -> str:
        """The log file of its output."""
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
    """The run must end now."""


def _start(stage: Stage, logs: Path) -> subprocess.Popen[bytes]:
    with (logs / stage.log_name).open("w") as file:
        # A new process group but no new session, so that it ends with the session of the run.
        return subprocess.Popen(
            stage.command, cwd=tree.TREE if stage.in_tree else tree.ROOT,
            env={**os.environ, **stage.environment}, stdout=file, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, process_group=0,
        )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children."""
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
    """Why a stage is not started, or None."""
    if stage.missing:
        return stage.missing
    for need in stage.needs:
        if need not in done or done[need].status != "passed":
            return f"needs {need!r}, which did not pass"
    if left < min(8.0, stage.seconds):
        return f"out of time: {left:.0f} s left"
    return None


def run(
    stage: Stage,
    logs: Path,
    left: float,
    done: dict[str, Outcome],
    watch: Callable[[], None] = lambda: None,
    poll: float = 0.5,
) -> Outcome:
    """Run a stage for at most its own limit and `left` seconds; calls `watch` during the run.

    If `watch` raises Interrupted, all processes are ended and the exception is raised.
    """
    if reason := _refusal(stage, left, done):
        return Outcome(stage.name, "skipped", reason=reason)
    limit = min(stage.seconds, left)
    start = time.monotonic()
    processes = [_start(stage, logs)]
    code: int | None = None
    try:
        processes += [_start(other, logs) for other in stage.background if not other.missing]
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
