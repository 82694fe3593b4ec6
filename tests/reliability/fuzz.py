"""Random calls of every public op, distribution and special function, and of the dispatcher's ops.

A call is made of the seed and its number alone: shapes with 0 and 1, strides, dtypes and mixtures
of them, NaN, infinity, subnormal and huge numbers, wrong types, options out of range, gradients
wanted in any combination and given in any layout.  A legal call must work and agree with the
reference; any other must work or raise an error that names what was called and an argument of it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path
from typing import Any

from .campaign import Campaign, Outcome
from .fuzzer.child import make
from .fuzzer.verdict import judge

ROOT = Path(__file__).parents[2]
MOST_DEATHS = 50  # then the rest is left
STALLED = 120.0  # seconds for one call
SLICE = 5000  # calls a process


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", type=int, default=0, help="number of the first call")
    parser.add_argument("--only", type=int, help="one call alone, in this process")
    parser.add_argument("--each", type=int, default=3, help="findings of a kind to print")


class _Child:
    """A process that works through numbers, watched."""

    def __init__(self, seed: int, begin: int, end: int, progress: Path) -> None:
        self.progress = progress
        command = [sys.executable, "-m", "tests.reliability.fuzzer.child"]
        self.process = subprocess.Popen(
            [*command, str(seed), str(begin), str(end), str(progress)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def number(self) -> int:
        return int.from_bytes(self.progress.read_bytes(), "little")

    def finish(self) -> tuple[str, str, str]:
        """What it printed on both streams, and how it died, if it did."""
        last, since, died = -1, time.monotonic(), ""
        while True:
            try:
                out, err = self.process.communicate(timeout=5)
                break
            except subprocess.TimeoutExpired:
                if self.number() != last:
                    last, since = self.number(), time.monotonic()
                elif time.monotonic() - since > STALLED:
                    died = f"took over {STALLED:.0f} s"
                    self.process.kill()
        code = self.process.returncode
        if code and not died:
            died = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return out, err, died


def _run(arguments: Namespace) -> Outcome:
    if arguments.only is not None:
        return _alone(arguments)
    counts: Counter[str] = Counter()
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "progress"
        progress.write_bytes(bytes(8))
        number, end = arguments.begin, arguments.begin + arguments.calls
        while number < end and counts["died"] < MOST_DEATHS:
            after = min(number + SLICE, end)
            child = _Child(arguments.seed, number, after, progress)
            out, err, died = child.finish()
            for line in out.splitlines():
                record = json.loads(line)
                counts.update(record["counts"]) if "counts" in record else found.append(record)
            if died:
                after = child.number() + 1
                found.append({"number": after - 1, "finding": f"{died} {err[-300:]}",
                              **_described(arguments.seed, after - 1)})  # fmt: skip
                counts["died"] += 1
            number = after
    counts["calls"] = number - arguments.begin
    return Outcome(_figures(counts, found), _by_kind(found, arguments.each))


def _described(seed: int, number: int) -> dict[str, str]:
    """A call in words; where the fuzzer itself fails to make it, that."""
    try:
        call, _ = make(seed, number)
    except Exception as error:
        return {"call": f"could not be made: {error!r}", "target": "the fuzzer"}
    return {"call": call.describe(), "target": call.target}


def _figures(counts: Counter[str], found: list[Any]) -> dict[str, Any]:
    return {
        "calls": counts["calls"],
        "refused with a clear error": counts["refused"],
        "worked": counts["worked"] + counts["compared"],
        "compared with the reference": counts["compared"],
        "crashes": counts["died"],
        "calls with a finding": len({f["number"] for f in found}),
    }


def _by_kind(found: list[dict[str, Any]], each: int) -> list[str]:
    """Findings by what was called and what is wrong, a few of each kind."""
    kinds: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in found:
        kinds.setdefault((record["target"], record["finding"][:40]), []).append(record)
    lines = []
    for _, records in sorted(kinds.items(), key=lambda k: -len(k[1])):
        for record in records[:each]:
            lines.append(
                f"{len(records)} like call {record['number']}: {record['finding']}\n"
                f"      {record['call']}"
            )
    return lines


def _alone(arguments: Namespace) -> Outcome:
    call, rng = make(arguments.seed, arguments.only)
    print(call.describe())
    outcome, findings = judge(call, rng)
    return Outcome({"outcome": outcome}, findings)


CAMPAIGN = Campaign(
    "fuzz", "random calls of everything public, compared with the reference", _arguments, _run
)
