"""CPU kernels and bindings under the address, undefined and thread sanitizers.

    python -m tests.reliability sanitize [--kind address,undefined] [--isa avx512]

Everything that the shared checker and the declarations give is called through an extension that is
built for the purpose (build.py). A report counts if a frame of it lies in the extension; torch and
Python have their own, most of them leaks at exit.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from benchmarks.gpu import compilation
from benchmarks.gpu.tree import ROOT

from ..campaign import Campaign, Outcome
from .build import ISAS, KINDS, extension

RUNTIMES = {"address,undefined": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",)}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:halt_on_error=0:exitcode=0",
    "LSAN_OPTIONS": f"suppressions={Path(__file__).with_name('leaks.txt')}:exitcode=0",
    "UBSAN_OPTIONS": f"suppressions={Path(__file__).with_name('wraps.txt')}:print_stacktrace=1",
    "TSAN_OPTIONS": f"suppressions={Path(__file__).with_name('races.txt')}:exitcode=0",
}
# The beginnings of reports, and the frames of the extension in them.
REPORT = re.compile(
    r"^(?=.*runtime error: |.*ERROR: AddressSanitizer|WARNING: ThreadSanitizer|"
    r"(?:Direct|Indirect) leak of)",
    re.MULTILINE,
)
OURS = re.compile(r"\(_C\.|/_C\.|csrc/")
START = (
    "import sys; sys.path.insert(0, {package!r}); import flowkernels.ops, runpy;"
    "assert flowkernels._C.__file__.startswith({package!r});"
    "runpy.run_module('tests.reliability.sanitize.exercise', run_name='__main__', alter_sys=True)"
)


def runtime(library: str) -> str:
    """The path of one of the compiler's libraries; only its name if it has none."""
    command = [os.environ.get("CXX", "c++"), f"-print-file-name={library}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def missing(kind: str) -> str | None:
    """What this machine lacks, if anything."""
    for library in RUNTIMES[kind]:
        if not Path(runtime(library)).is_absolute():
            return f"the compiler has no {library}"
    return None


def supported(isa: str) -> bool:
    """Whether this processor can run the kernels of an instruction set."""
    best = compilation.setup().torch.backends.cpu.get_cpu_capability().lower()
    order = {"default": "baseline", "avx2": "avx2", "avx512": "avx512"}
    return ISAS.index(isa) <= ISAS.index(order.get(best, "baseline"))


def reports(text: str) -> list[str]:
    """The reports in a sanitizer's output that concern the extension."""
    parts = REPORT.split(text)[1:]
    return list(dict.fromkeys(headline(part) for part in parts if OURS.search(part)))


def headline(report: str) -> str:
    """What a report says, and the first line of our sources in it."""
    first = report.strip().splitlines()[0]
    place = re.search(r"csrc/\S+:\d+", report)
    return re.sub(r"==\d+==|0x[0-9a-f]+|\(pid=\d+\)", "", first).strip() + (
        f" at {place[0]}" if place and place[0] not in first else ""
    )


def exercise(kind: str, package: Path, *words: str, seconds: float = 3600) -> tuple[int, list[str]]:
    """The number of calls that were made, and what the sanitizers reported."""
    start = START.format(package=str(package))
    command = [sys.executable, "-W", "ignore", "-c", start, *words]
    if shutil.which("setarch"):
        command = ["setarch", "-R", *command]  # older runtimes fail with much randomization
    with tempfile.TemporaryFile("w+", errors="replace") as messages:
        run = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=messages, text=True, timeout=seconds,
            env={
                **os.environ, **OPTIONS, "OMP_NUM_THREADS": "1",
                "FLOWKERNELS_CPU_ISA": package.name,
                "LD_PRELOAD": ":".join(map(runtime, RUNTIMES[kind])),
            },
        )  # fmt: skip
        messages.seek(0)
        text = messages.read()
    done = re.search(r"(\d+) calls", run.stdout)
    found = reports(text)
    if done is None:
        last = next((t for t in reversed(text.splitlines()) if t.strip()), "nothing was said")
        found.append(f"ended with status {run.returncode}: {last.strip()[:200]}")
    return int(done[1]) if done else 0, found


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--isa", nargs="+", choices=ISAS, default=list(reversed(ISAS)))
    parser.add_argument("--jobs", type=int, default=1, help="compilers at once")


def _run(arguments: Namespace) -> Outcome:
    figures: dict[str, object] = {}
    findings: list[str] = []
    skipped: list[str] = []
    for kind in arguments.kind:
        if problem := missing(kind):
            skipped.append(f"{kind}: {problem}")
            continue
        for isa in arguments.isa:
            if not supported(isa):
                skipped.append(f"{isa}: this processor does not have it")
                continue
            package = extension(kind, isa, arguments.jobs, compilation.say)
            begin = time.monotonic()
            calls, found = exercise(kind, package)
            figures[f"{kind}, {isa}"] = {
                "calls, forward and backward": calls,
                "reports": len(found),
                "seconds": round(time.monotonic() - begin),
            }
            findings += [f"{kind}, {isa}: {report}" for report in found]
    return Outcome(figures, findings, skipped)


CAMPAIGN = Campaign(
    "sanitize",
    "CPU kernels and bindings under the address, undefined and thread sanitizers",
    _add_arguments,
    _run,
)
