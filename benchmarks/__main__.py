"""python -m benchmarks: times every op against plain torch and writes the comparison.

The quick mode (a few sizes, mostly one thread) takes a few minutes, the first time mostly for
torch.compile; --full runs every size, thread count and dtype.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from . import machine, report
from .interleaved import CLOCKS
from .registry import rows
from .warm import warm

HERE = Path(__file__).parent


class Outcome:
    """A pytest plugin that records the benchmarks that failed."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a failure and its reason."""
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = crash.message if crash else report.longreprtext
            self.refused[report.nodeid.split("::")[-1]] = reason.splitlines()[0]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--full", action="store_true", help="every size, dtype and thread count")
    parser.add_argument(
        "-k", default="", metavar="WORDS", help="only rows whose name contains every word"
    )
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="cpu: one-thread rows only, in process time, for machines with other work",
    )
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder to write to")
    parser.add_argument(
        "--no-warm", action="store_true", help="let torch.compile run between the timings"
    )
    return parser.parse_args()


def run(chosen: argparse.Namespace) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The timed rows and the refused ones."""
    words = chosen.k.split()
    if not chosen.no_warm:
        everything = rows(chosen.full)
        picked = [row for row in everything if all(word in row.label for word in words)]
        if chosen.clock == "cpu":
            picked = [row for row in picked if row.threads == 1]
        warm(picked, everything, chosen.full)
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "benchmarks.json"
        command = [str(HERE), "-o", "python_files=bench_*.py", "-o", "addopts=", "-q"]
        command += ["-W", "ignore", "--tb=line", "--benchmark-quiet", f"--benchmark-json={path}"]
        command += ["--benchmark-disable-gc", "-p", "no:cacheprovider"]
        command += [f"--clock={chosen.clock}"]
        command += [f"--benchmark-timer=time.{CLOCKS[chosen.clock].__name__}"]
        command += ["--full"] if chosen.full else []
        command += ["-k", " and ".join(words)] if words else []
        code = pytest.main(command, plugins=[outcome])
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            sys.exit(f"no benchmarks were run (pytest ended with {code!r})")
        timed = json.loads(path.read_text())["benchmarks"] if path.exists() else []
    return [b["extra_info"] for b in timed if "kind" in b["extra_info"]], outcome.refused


def main() -> None:
    """Run the benchmarks, print the tables and write the results."""
    chosen = arguments()
    facts = machine.facts()
    timed, refused = run(chosen)
    facts["busy"] = max(facts["busy"], machine.facts()["busy"])
    mode = "full" if chosen.full else "quick"
    result = {
        "mode": mode,
        "clock": chosen.clock,
        "machine": facts,
        "refused": refused,
        "rows": timed,
    }
    console = Console(width=None if sys.stdout.isatty() else 150)
    written = []
    if timed:
        # Save first, so that an error while printing loses no timings.
        chosen.output.mkdir(parents=True, exist_ok=True)
        stem = chosen.output / f"{facts['date'][:10]}-{facts['commit'][:7]}-cpu-{mode}"
        written.append(report.save_json(result, stem.with_suffix(".json")))
        written.append(report.save_picture(result, stem.with_suffix(".png")))
    report.show(console, result)
    for path in written:
        console.print("wrote", str(path))
    sys.exit(1 if refused or not timed else 0)


if __name__ == "__main__":
    main()
