"""The compilation steps of a GPU run, and the check whether an object is up to date.

The flags and the lists of sources come from csrc/building. An object's name contains a digest of
its flags and of every file that it may include, so it is up to date exactly while these are
unchanged.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from csrc.building import sources

from . import tree

_INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


@functools.cache
def setup() -> ModuleType:
    """The module setup.py, with its imports."""
    spec = importlib.util.spec_from_file_location("flowkernels_setup", tree.ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class Step:
    """The compilation of one source.

    name     unique; used in messages and in the object's file name
    source   path relative to the checkout
    flags    compiler flags that determine the object
    places   include directories of torch, Python and CUDA, which differ between machines
    against  the packages of these headers, with versions
    """

    name: str
    source: str
    compiler: str
    flags: tuple[str, ...]
    places: tuple[str, ...] = ()
    against: str = ""

    def command(self, to: Path) -> list[str]:
        """The compiler's command line; runs in the checkout."""
        places = [f"-isystem{p}" for p in self.places]
        return [self.compiler, *self.flags, *places, "-c", self.source, "-o", str(to)]

    def files(self) -> dict[str, str]:
        """The digest of each file of the checkout that the compiler may read."""
        return {
            str(path.relative_to(tree.ROOT)): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            for path in read_by(tree.ROOT / self.source)
        }

    def digest(self, files: dict[str, str] | None = None) -> str:
        """The digest of the flags and the files."""
        facts = [*self.flags, self.against, *sorted((files or self.files()).items())]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def object_name(self, digest: str) -> str:
        """The file name of the object."""
        return f"{self.name.replace('/', '-')}.{digest}.o"


def read_by(source: Path) -> list[Path]:
    """A source and all headers of the checkout that it includes, directly or indirectly."""
    found: dict[Path, None] = {}
    pending = [source.resolve()]
    while pending:
        path = pending.pop()
        if path in found:
            continue
        found[path] = None
        for name in _INCLUDE.findall(path.read_text(encoding="utf-8")):
            header = (path.parent / name).resolve()
            if header.exists():
                pending.append(header)
    return sorted(found)


def kernel_steps(architecture: str) -> list[Step]:
    """The steps of all kernels, which do not depend on torch or Python."""
    compiler = os.environ.get("CXX", "c++")
    number = architecture.removeprefix("sm_")
    cuda = (f"-gencode=arch=compute_{number},code=sm_{number}", "-Xcompiler", "-fPIC")
    cuda += ("-compress-mode=size",)  # a seventh of the bytes; the driver unpacks them
    steps = [
        Step(f"cuda/{Path(s).stem}", s, "nvcc", (*sources.NVCC_FLAGS, *cuda))
        for s in sources.cuda_kernels()
    ]
    for isa, flags in sources.ISA_FLAGS.items():
        every = (*sources.KERNEL_FLAGS, f"-DFK_ISA={isa}", *flags, "-fPIC")
        for s in sources.cpu_kernels():
            steps.append(Step(f"cpu/{isa}/{Path(s).stem}", s, compiler, every))
    return steps


def binding_steps() -> tuple[list[Step], list[Step]]:
    """The bindings of _C and of _C_cuda, for this torch and this Python.

    A source that both extensions use is one step, compiled once.
    """
    torch, extension = setup().torch, setup().cpp_extension
    compiler = os.environ.get("CXX", "c++")
    places = (
        *extension.include_paths("cuda"),
        sysconfig.get_path("include"),
        f"{extension.CUDA_HOME}/include",
    )
    against = f"torch {torch.__version__} ({str(torch.version.git_version)[:10]})"
    against += f" and Python {sys.version_info[0]}.{sys.version_info[1]}"

    def step(source: str) -> Step:
        name = str(Path(source).relative_to("csrc").with_suffix(""))
        return Step(name, source, compiler, (*sources.BINDING_FLAGS, "-fPIC"), places, against)

    return [step(s) for s in sources.cpu_bindings()], [step(s) for s in sources.cuda_bindings()]


@dataclass
class Result:
    """The result of one compilation; `cpu_seconds` are meaningful on a busy machine too."""

    step: Step
    path: Path
    files: dict[str, str]
    seconds: float
    cpu_seconds: float
    problem: str = ""


def compile_one(step: Step, folder: Path) -> Result:
    """Compile into `folder`; the object appears atomically."""
    files = step.files()
    path = folder / step.object_name(step.digest(files))
    partial = path.with_suffix(f".{os.getpid()}.partial")
    start = time.monotonic()
    code, cpu, text = _run(step.command(partial))
    spent = (time.monotonic() - start, cpu)
    if code:
        return Result(step, path, files, *spent, problem=text[-6000:] or f"exit status {code}")
    if step.files() != files:
        partial.unlink()
        return Result(step, path, files, *spent, problem="its sources changed during compilation")
    partial.replace(path)
    return Result(step, path, files, *spent)


def _run(command: list[str]) -> tuple[int, float, str]:
    """Exit status, CPU seconds, messages."""
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, cwd=tree.ROOT, stdout=messages, stderr=messages)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        messages.seek(0)
        text = messages.read().decode(errors="replace")
    return process.returncode, usage.ru_utime + usage.ru_stime, text


def compile_all(
    steps: Iterable[Step], folder: Path, jobs: int, each: Callable[[Result], None]
) -> list[Result]:
    """Compile in parallel, the longest steps first; calls `each` with every result."""
    folder.mkdir(parents=True, exist_ok=True)

    def length(step: Step) -> tuple[bool, int]:
        return step.source.endswith(".cu"), (tree.ROOT / step.source).stat().st_size

    results = []
    with ThreadPoolExecutor(jobs) as pool:
        ordered = sorted(steps, key=length, reverse=True)
        for job in as_completed([pool.submit(compile_one, s, folder) for s in ordered]):
            results.append(job.result())
            each(results[-1])
    return results


def say(result: Result) -> None:
    """Print one line per compilation, and the compiler's message on failure."""
    took = f"{result.seconds:.1f} s, {result.cpu_seconds:.1f} CPU s"
    print(f"{result.step.name}: {took}{' FAILED' * bool(result.problem)}", flush=True)
    if result.problem:
        print(result.problem, flush=True)
