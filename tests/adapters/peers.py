"""python -m tests.adapters.peers: the libraries' own test suites, with and without `patch`.

Each suite runs twice, in processes of its own and with the same seeds; the same tests must pass.
The sources are those in the folder that PEERS names (FrEIA, nflows, normflows, zuko, each a
checkout), else the tests that an installed library has (normflows), else its source distribution
from PyPI (nflows, zuko). What is skipped is printed with its reason.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

LIBRARIES = ("nflows", "normflows", "zuko", "FrEIA")
HERE = Path(__file__).resolve().parent
SECONDS = 3600


class Suite(NamedTuple):
    """A library's tests: where to run, what, and which of its sources are imported."""

    library: str
    folder: Path
    tests: str
    origin: str


def _in_folder(library: str, folder: Path, origin: str) -> Suite | None:
    for tests in ("tests", library):
        if any((folder / tests).rglob("*test*.py")):
            return Suite(library, folder, tests, origin)
    return None


def _installed(library: str) -> Suite | None:
    spec = importlib.util.find_spec(library)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent
    if not any(folder.rglob("*_test.py")):
        return None
    return Suite(
        library, folder.parent, library, f"installed {importlib.metadata.version(library)}"
    )


def _downloaded(library: str, into: Path) -> Suite | None:
    """From the source distribution of the installed version."""
    try:
        version = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
        "--no-build-isolation", "--dest", str(into), f"{library}=={version}",
    ]  # fmt: skip
    if subprocess.run(command, check=False, capture_output=True).returncode:
        return None
    for archive in into.glob(f"{library}-*.tar.gz"):
        with tarfile.open(archive) as files:
            files.extractall(into, filter="data")
        suite = _in_folder(library, into / archive.name.removesuffix(".tar.gz"), f"PyPI {version}")
        if suite is not None:
            return suite
    return None


def suite_of(library: str, scratch: Path) -> Suite | str:
    """Where a library's tests are, or why there are none."""
    given = os.environ.get("PEERS")
    if given and (Path(given) / library).is_dir():
        folder = (Path(given) / library).resolve()
        found = _in_folder(library, folder, f"{given}/{library}")
        return found or f"no tests in {folder}"
    found = _installed(library) or _downloaded(library, scratch)
    return found or (
        "not in the folder PEERS; neither what is installed nor PyPI's source distribution has its "
        "tests"
    )


def run(suite: Suite, patched: bool, scratch: Path, options: list[str]) -> dict[str, Any] | str:
    """What the suite's tests did, or why they did not run."""
    result = scratch / f"{suite.library}-{patched}.json"
    environment = os.environ | {
        "FLOWKERNELS_PEER_RESULT": str(result),
        "FLOWKERNELS_PEER_PATCH": suite.library if patched else "",
        # The sources in front of what is installed, and the plugin.
        "PYTHONPATH": os.pathsep.join(
            [str(suite.folder), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
        ),
    }
    command = [
        sys.executable, "-m", "pytest", "-q", "-p", "peers_plugin", "-p", "no:cacheprovider",
        "-o", "python_files=test_*.py *_test.py", suite.tests, *options,
    ]  # fmt: skip
    process = subprocess.run(
        command, cwd=suite.folder, env=environment, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    # 1: tests failed; which ones is compared.
    if process.returncode not in (0, 1) or not result.exists():
        said = [line for line in process.stdout.splitlines() if line.startswith("E  ")]
        return "\n".join(dict.fromkeys(said)) or (process.stdout + process.stderr)[-1500:]
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def passed(found: dict[str, Any]) -> set[str]:
    """The tests that passed."""
    return {test for test, outcome in found["outcomes"].items() if outcome == "passed"}


def lines(suite: Suite, plain: dict[str, Any], patched: dict[str, Any]) -> Iterator[str]:
    """What is to be said of a suite."""
    before, after = passed(plain), passed(patched)
    counts = [Counter(found["outcomes"].values()) for found in (plain, patched)]
    shown = [", ".join(f"{n} {outcome}" for outcome, n in sorted(c.items())) for c in counts]
    yield f"{suite.library} ({suite.origin}): without patch {shown[0]}; with it {shown[1]}"
    yield from (f"    passes only without patch: {test}" for test in sorted(before - after))
    yield from (f"    passes only with patch: {test}" for test in sorted(after - before))
    for name, calls in patched["calls"].items():
        left = ", ".join(f"{n} left: {why}" for why, n in calls["left"].items())
        yield f"    {name}: {calls['served']} calls served" + f"; {left}" * bool(left)
    from flowkernels.adapters.acceleration import replacements_of

    known: Any = suite.library
    for replacement in replacements_of(known):
        if f"{suite.library}.{replacement.name}" not in patched["calls"]:
            yield f"    {suite.library}.{replacement.name}: the suite does not call it"


def main() -> int:
    """Prints a paragraph for each library; 1 if patching changed what passes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("libraries", nargs="*", default=[], help=", ".join(LIBRARIES))
    parser.add_argument("--pytest", nargs="*", default=[], help="options of pytest")
    given = parser.parse_args()
    status, ran = 0, 0
    for library in given.libraries or LIBRARIES:
        with tempfile.TemporaryDirectory() as folder:
            suite = suite_of(library, Path(folder))
            if isinstance(suite, str):
                print(f"{library}: skipped: {suite}", flush=True)
                continue
            results = [run(suite, p, Path(folder), given.pytest) for p in (False, True)]
            broken = [r for r in results if isinstance(r, str)]
            if broken:
                print(f"{library}: skipped: its tests do not start:\n{broken[0]}", flush=True)
                status = 1
                continue
            ran += 1
            plain, patched = (r for r in results if not isinstance(r, str))
            print("\n".join(lines(suite, plain, patched)), flush=True)
            status |= passed(plain) != passed(patched) or not patched["calls"]
    return status or int(ran == 0)


if __name__ == "__main__":
    sys.exit(main())
