"""Campaign `files`: checkpoints, settings and data from strangers."""

from __future__ import annotations

import re
import shutil
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from flowkernels.experiments.data.errors import DataError
from flowkernels.experiments.training import ConfigError, RunError

from . import hostile_cases, hostile_checkpoints, mutated_files
from .campaign import Campaign, Outcome
from .runs import forget_peak, in_child, resident, train

Case = Callable[[Path], Callable[[], object]]

# Over the memory before the case; the largest real file, Fashion-MNIST, is held twice.
_MOST_MEMORY = 256 << 20
_MOST_SECONDS = 20.0
# Errors of a user, which the command line prints without a traceback.
_KNOWN = (DataError, ConfigError, RunError, OSError)


def add_arguments(parser: ArgumentParser) -> None:
    """Options of the campaign."""
    parser.add_argument("--mutations", type=int, default=2000, help="of each kind of file")
    parser.add_argument("--seed", type=int, default=0)


def run(arguments: Namespace) -> Outcome:
    """Every case, and mutations of every kind of file."""
    outcome = Outcome({})
    folder = Path(tempfile.mkdtemp(prefix="flowkernels-files-"))
    try:
        crafted(outcome, folder, [*hostile_checkpoints.CASES, *hostile_cases.CASES])
        mutated_files.run(outcome, folder, arguments.mutations, arguments.seed)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def crafted(outcome: Outcome, folder: Path, cases: Sequence[Case]) -> None:
    """Each case in a process of its own: an error that names the file, in bounded memory."""
    sample = folder / "sample"
    ended = in_child(lambda: train(sample))
    if ended.code:
        outcome.findings.append(f"the run to be damaged: {ended.said}")
        return
    worst = 0
    for case in cases:
        name = case.__name__.replace("_", " ")
        place = folder / case.__name__
        place.mkdir()
        shutil.copytree(sample, place / "run")
        outside = place / "outside"
        outside.mkdir()
        (outside / "precious").write_text("precious")
        problem, memory = _try(case, place)
        worst = max(worst, memory)
        left = {path.name: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
        if problem is None and left != {"precious": b"precious"}:
            problem = f"wrote outside of the folder: {sorted(left)}"
        if problem is None and [*place.rglob("executed")]:
            problem = "executed what the file says"
        if problem:
            outcome.findings.append(f"{name}: {problem}")
        shutil.rmtree(place)
    outcome.figures |= {
        "crafted files": len(cases),
        "largest memory while reading one, MiB": round(worst / 2**20, 1),
    }


def _try(case: Case, place: Path) -> tuple[str | None, int]:
    """What is wrong with a case, and the memory that it took."""

    def measured() -> tuple[str, str, int]:
        action = case(place)
        forget_peak()
        before = resident("VmRSS")
        try:
            action()
            kind, text = "nothing", ""
        except _KNOWN as error:
            kind, text = "known", str(error)
        except BaseException as error:
            kind, text = type(error).__name__, str(error)
        return kind, text, resident("VmHWM") - before

    ended = in_child(measured, patience=60)
    if ended.code or ended.said is None:
        return f"the process ended with {ended.code}: {ended.said}", 0
    kind, text, memory = ended.said
    wanted = case.__doc__ or ""
    if memory > _MOST_MEMORY:
        return f"took {memory / 2**20:.0f} MiB", memory
    if ended.seconds > _MOST_SECONDS:
        return f"took {ended.seconds:.0f} s", memory
    if wanted == "Harmless.":
        return (f"{kind}: {text[:200]}" if kind != "nothing" else None), memory
    if kind != "known":
        return f"expected an error with {wanted}, got {kind}: {text[:200]}", memory
    if not re.search(wanted, text, re.DOTALL) or len(text) > 2000:
        return f"expected an error with {wanted}, got {text[:300]}", memory
    return None, memory


CAMPAIGN = Campaign(
    "files",
    "hostile and damaged checkpoints, settings and data",
    add_arguments,
    run,
)
