"""python -m benchmarks.gpu --output DIR: builds, tests, times and profiles on this machine's GPU.

Needs a checkout, torch for CUDA, nvcc and, for the Triton stages, Triton; no network. Writes one
JSON file, one archive of logs and one picture to DIR. The JSON file is valid and complete at
every moment, so an aborted run loses nothing. See README.md in this folder.

--only NAMES runs only these stages and --ops NAMES only these ops, to check a fix in the remaining
time. --rehearse runs the same stages without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from . import facts, objects, picture, table, tree, wheels
from .plan import Plan
from .results import Results, problems_with, stem
from .stages import Interrupted, Outcome, Stage, run

WORK = tree.TREE / "run"
BUILD = tree.TREE / "build.json"  # which objects were reused and which were compiled
DRIVER = tree.TREE / "driver"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=tree.ROOT / "benchmarks" / "results")
    parser.add_argument("--seconds", type=float, default=520, help="limit of the whole run (520)")
    parser.add_argument("--only", nargs="+", help="only these stages, by name or its first word")
    parser.add_argument("--ops", nargs="+", default=[], help="only these ops")
    parser.add_argument("--commit", default=os.environ.get("FLOWKERNELS_COMMIT"),
                        help="commit of the checkout, if it is not a repository")  # fmt: skip
    parser.add_argument("--rehearse", action="store_true", help="without a GPU")
    parser.add_argument("--list", action="store_true", help="print the stages and their limits")
    return parser


def _plan(chosen: argparse.Namespace) -> list[Stage]:
    driver = Path(os.environ.get("FLOWKERNELS_DRIVER") or objects.driver() or DRIVER)
    if driver.exists():
        driver.chmod(0o755)  # the transfer may have dropped the permission
    plan = Plan(WORK, driver, chosen.ops, chosen.rehearse)
    stages = plan.rehearsal() if chosen.rehearse else plan.whole()
    if chosen.only:
        names = {s.name for s in stages} | {s.name.split()[0] for s in stages}
        if unknown := [name for name in chosen.only if name not in names]:
            sys.exit(f"--only: no stage is called {', '.join(unknown)}; see --list")
        stages = [s for s in stages if {s.name, s.name.split()[0]} & set(chosen.only)]
        kept = {s.name for s in stages}
        for stage in stages:  # assume that stages left out have passed
            stage.needs = tuple(n for n in stage.needs if n in kept)
    return stages


def _interrupt(number: int, frame: Any) -> None:
    raise Interrupted(signal.Signals(number).name)


def _run_all(stages: list[Stage], results: Results, clocks: facts.Clocks, end: float) -> bool:
    """Run the stages; whether none failed or timed out."""
    done: dict[str, Outcome] = {}
    for stage in stages:
        left = end - time.monotonic()
        try:
            outcome = run(stage, results.logs, left, done, results.watch)
        except Interrupted as signalled:
            results.add(Outcome(stage.name, "interrupted", reason=str(signalled)))
            raise
        done[stage.name] = outcome
        if stage.name == "build" and BUILD.exists():
            results.head["build"] = json.loads(BUILD.read_text())
        results.add(outcome, **clocks.since_last())
        what = f"{outcome.name}: {outcome.status}, {outcome.seconds:.0f} s"
        print(f"{what} {outcome.reason}".rstrip(), flush=True)
        if outcome.status in ("failed", "timed out"):
            print(outcome.tail[-1500:], flush=True)
    return not any(o.status in ("failed", "timed out") for o in done.values())


def main() -> int:
    """Run the stages one after the other; 1 if one failed or timed out."""
    chosen = _parser().parse_args()
    start = time.monotonic()
    output = chosen.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    (WORK / "logs").mkdir(parents=True, exist_ok=True)
    for old in (WORK / "logs").iterdir():
        old.unlink()
    tree.make(built_elsewhere=chosen.rehearse)
    carried = wheels.unpack()
    stages = _plan(chosen)
    if chosen.list:
        for stage in stages:
            print(f"{stage.seconds:5.0f} s  {stage.name}")
        return 0
    machine = facts.of_machine(chosen.commit)
    kind = "rehearsal" if chosen.rehearse else "gpu"
    asked = {"only": chosen.only, "ops": chosen.ops, "seconds": chosen.seconds}
    head = {"kind": kind, "machine": machine, "carried": carried, "asked": asked}
    results = Results(output, WORK, stem(machine["date"], machine["commit"], kind), head)
    results.plan(stages)
    results.save()
    print(json.dumps(machine, indent=1), flush=True)
    clocks = facts.Clocks(results.logs / "clocks.csv")
    clocks.start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    passed = False
    try:
        passed = _run_all(stages, results, clocks, start + chosen.seconds)
    except Interrupted as signalled:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        print(f"ended by {signalled}", flush=True)
    finally:
        clocks.stop()
        results.save()
    sections = results.sections()
    if problem := picture.draw(sections.get("rows", []), machine, results.picture):
        print(f"no picture: {problem}")
    print(table.text(sections))
    for problem in problems_with(output) if chosen.rehearse else []:
        print(f"would not be copied back: {problem}")
        passed = False
    print(f"wrote {results.path.name}, {time.monotonic() - start:.0f} s in all")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
