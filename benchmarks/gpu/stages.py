"""The stages of a run on a GPU: what each needs, how long it may take, where it writes."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import tree

PYTHON = sys.executable
# What a GPU can be asked by the tests of all ops.
PROMISES = "parity or strides or empty_batch or layouts or bessel_functions or backward_refuses"
REHEARSED = ("cuda", "eager", "normflows", "compiled")
TRANSFORMS = "autocast or gradcheck or opcheck or torch_func or vmap or jacobian"


@dataclass
class Stage:
    """One process with a limit of its own.

    needs    stages that must have succeeded
    missing  why it cannot run on this machine, if so
    """

    name: str
    command: list[str]
    seconds: float
    environment: dict[str, str] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    missing: str | None = None
    rows: Path | None = None
    in_tree: bool = True


@dataclass
class Outcome:
    """How a stage ended."""

    name: str
    status: str  # passed, failed, timed out, skipped
    seconds: float = 0.0
    reason: str = ""
    tail: str = ""

    def facts(self) -> dict[str, Any]:
        """For JSON."""
        return {k: v for k, v in vars(self).items() if v}


def _module_missing(name: str) -> str | None:
    return None if importlib.util.find_spec(name) else f"{name} is not installed"


def _pytest(name: str, backend: str, device: str, which: str, seconds: float) -> Stage:
    command = [PYTHON, "-m", "pytest", "-q", "-p", "tests.cuda.on_device", "-k", which]
    command += ["-p", "no:cacheprovider", "--maxfail=40", "tests/ops/test_promises.py"]
    command += ["tests/cuda/test_layouts.py", "tests/cuda/test_bessel_functions.py"]
    environment = {"FLOWKERNELS_BACKEND": backend, "FLOWKERNELS_TEST_DEVICE": device}
    return Stage(name, command, seconds, environment, ("build",), missing=_module_missing("pytest"))


def _bench(contestant: str, device: str, output: Path, seconds: float, tiny: bool) -> Stage:
    rows = output / f"rows-{contestant}.jsonl"
    command = [PYTHON, "-m", "benchmarks.gpu.worker", "--contestant", contestant]
    command += ["--rows", str(rows), "--device", device, "--seconds", str(seconds - 14)]
    backend = contestant if contestant in ("cuda", "triton") else ""
    missing = _module_missing("normflows") if contestant == "normflows" else None
    return Stage(
        f"bench {contestant}",
        [*command, *(["--tiny"] if tiny else [])],
        seconds,
        {"FLOWKERNELS_BACKEND": backend},
        ("build",),
        missing=missing,
        rows=rows,
    )


def _sanitizer() -> tuple[str | None, str | None]:
    for candidate in (
        shutil.which("compute-sanitizer"),
        "/usr/local/cuda/bin/compute-sanitizer",
        "/usr/local/cuda/compute-sanitizer/compute-sanitizer",
    ):
        if candidate and Path(candidate).exists():
            return candidate, None
    return None, "compute-sanitizer was not found (PATH, /usr/local/cuda)"


def _sanitize(tool: str, seconds: float) -> Stage:
    path, missing = _sanitizer()
    command = [path or "compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
    command += [PYTHON, "-m", "benchmarks.gpu.parity", "--every", "5"]
    command += ["--dtypes", "float32", "bfloat16"]
    # Tensors in memory of their own, so that an access beyond one is seen.
    environment = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "FLOWKERNELS_BACKEND": "cuda"}
    return Stage(f"sanitizer {tool}", command, seconds, environment, ("build",), missing)


def on_gpu(output: Path) -> list[Stage]:
    """The stages, those that matter most first; limits in seconds."""
    build = Stage("build", [PYTHON, "-m", "benchmarks.gpu.build"], 200, in_tree=False)
    no_triton = _module_missing("triton")
    stages = [
        build,
        _pytest("tests cuda", "cuda", "cuda", PROMISES, 60),
        _bench("cuda", "cuda", output, 50, False),
        _pytest("tests triton", "triton", "cuda", PROMISES, 80),
        _bench("triton", "cuda", output, 60, False),
        _bench("eager", "cuda", output, 45, False),
        _bench("normflows", "cuda", output, 30, False),
        _sanitize("memcheck", 45),
        _bench("compiled", "cuda", output, 90, False),
        _pytest("transforms cuda", "cuda", "cuda", TRANSFORMS, 60),
        _sanitize("racecheck", 40),
    ]
    for stage in stages:
        if "triton" in stage.name and no_triton:
            stage.missing = no_triton
    if _module_missing("pytest"):
        for backend in ("cuda", "triton"):
            command = [PYTHON, "-m", "benchmarks.gpu.parity"]
            environment = {"FLOWKERNELS_BACKEND": backend}
            where = next(i for i, s in enumerate(stages) if s.name == f"tests {backend}")
            stages.insert(
                where + 1, Stage(f"parity {backend}", command, 60, environment, ("build",))
            )
    return stages


def rehearsal(output: Path) -> list[Stage]:
    """The same on a machine without a GPU, where that has a meaning, on the CPU's kernels."""
    build = [PYTHON, "-c", "import flowkernels, flowkernels.ops; print(flowkernels.backends())"]
    tests = _pytest("tests cuda", "", "cpu", "value_parity and (slerp or vmf)", 60)
    parity = [PYTHON, "-m", "benchmarks.gpu.parity", "--device", "cpu", "--every", "4"]
    return [
        Stage("build", build, 60),
        tests,
        Stage("parity cuda", parity, 60, {}, ("build",)),
        *(_rehearsed(_bench(c, "cpu", output, 60, True)) for c in REHEARSED),
        Stage("times out", [PYTHON, "-c", "import time; time.sleep(60)"], 1),
        Stage("fails", [PYTHON, "-c", "raise SystemExit('as it should')"], 10),
        Stage("needs it", [PYTHON, "-c", ""], 10, needs=("fails",)),
        Stage("lacks something", [PYTHON, "-c", ""], 10, missing="it is not here"),
    ]


def _rehearsed(stage: Stage) -> Stage:
    stage.environment["FLOWKERNELS_BACKEND"] = ""
    return stage


def run(stage: Stage, logs: Path, seconds: float, done: dict[str, Outcome]) -> Outcome:
    """Runs one stage for at most `seconds`; its output goes to a file."""
    if stage.missing:
        return Outcome(stage.name, "skipped", reason=stage.missing)
    for need in stage.needs:
        if need not in done or done[need].status != "passed":
            return Outcome(stage.name, "skipped", reason=f"it needs {need!r}, which did not pass")
    if seconds < min(8.0, stage.seconds):
        return Outcome(stage.name, "skipped", reason="the time was over")
    log = logs / f"{stage.name.replace(' ', '-')}.log"
    start = time.monotonic()
    environment = {**os.environ, **stage.environment}
    cwd = tree.TREE if stage.in_tree else tree.ROOT
    with log.open("w") as file:
        process = subprocess.Popen(
            stage.command, cwd=cwd, env=environment, stdout=file, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(timeout=min(stage.seconds, seconds))
        except subprocess.TimeoutExpired:
            code = None
            _end(process)
    took = time.monotonic() - start
    tail = log.read_text(errors="replace")[-3000:]
    if code is None:
        return Outcome(stage.name, "timed out", took, f"after {took:.0f} s", tail)
    if code:
        return Outcome(stage.name, "failed", took, f"exit status {code}", tail)
    return Outcome(stage.name, "passed", took, tail=tail[-600:])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and those that it started."""
    import signal

    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return
