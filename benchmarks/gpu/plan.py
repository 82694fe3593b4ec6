"""The stages of a run, the most important first, each with its own time limit.

The limits of the timing stages sum to less than the limit of a run; the rest goes to the tests at
the end. Nothing runs in parallel with a timing stage. While the tests run, background processes
fill the caches of the Triton and torch compilers.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import profile, wheels
from .stages import Stage

PYTHON = sys.executable
TESTS = ["tests/ops/test_promises.py", "tests/cuda/test_layouts.py",
         "tests/cuda/test_bessel_functions.py"]  # fmt: skip
PROMISES = "parity or strides or empty_batch or layouts or bessel_functions or backward_refuses"
TRANSFORMS = "autocast or gradcheck or opcheck or torch_func or vmap or jacobian"
ROUNDS = 4  # of sizes, see rows.py


def module_missing(name: str) -> str | None:
    """Why a stage that imports the module cannot run, or None."""
    return None if importlib.util.find_spec(name) else f"{name} is not installed"


def sanitizer() -> tuple[str, str | None]:
    """The compute-sanitizer program, and the reason if it is missing."""
    for candidate in (
        shutil.which("compute-sanitizer"),
        "/usr/local/cuda/bin/compute-sanitizer",
        "/usr/local/cuda/compute-sanitizer/compute-sanitizer",
    ):
        if candidate and Path(candidate).exists():
            return candidate, None
    return "compute-sanitizer", "compute-sanitizer was not found (PATH, /usr/local/cuda)"


@dataclass
class Plan:
    """Makes the stages for one machine.

    work      folder that stages write to
    driver    the program of tests/cuda/driver
    ops       only these ops, if not empty
    rehearse  use the CPU kernels and tiny sizes
    """

    work: Path
    driver: Path
    ops: Sequence[str] = ()
    rehearse: bool = False

    @property
    def device(self) -> str:
        """The device of the tensors."""
        return "cpu" if self.rehearse else "cuda"

    def _lines(self, name: str) -> Path:
        return self.work / f"{name.replace(' ', '-')}.jsonl"

    def _environment(self, backend: str) -> dict[str, str]:
        environment = {
            "FLOWKERNELS_BACKEND": "" if self.rehearse else backend,
            "TRITON_CACHE_DIR": str(self.work / "triton"),
            "TORCHINDUCTOR_CACHE_DIR": str(self.work / "inductor"),
            "PYTHONUNBUFFERED": "1",
        }
        before = [str(wheels.SITE)] if wheels.SITE.exists() else []
        if found := [*before, *filter(None, [os.environ.get("PYTHONPATH")])]:
            environment["PYTHONPATH"] = os.pathsep.join(found)
        if self.rehearse:
            environment["OMP_NUM_THREADS"] = "1"
        return environment

    def _needs_driver(self) -> tuple[str, ...]:
        return () if self.driver.exists() else ("driver build",)

    def _chosen(self) -> list[str]:
        return ["--ops", *self.ops] if self.ops else []

    def _driver_ops(self) -> list[str]:
        """The ops under the driver's names, which are those of kernels."""
        if not self.ops:
            return []
        # Not before it is needed: the plan is made where nothing may be built yet.
        from .rows import kernels_of

        return ["--ops", *dict.fromkeys(kernels_of(op) for op in self.ops)]

    # ---- kinds of stages -----------------------------------------------------------

    def build(self) -> Stage:
        """Link prebuilt objects and compile the others; a rehearsal only imports."""
        if self.rehearse:
            code = "import flowkernels, flowkernels.ops; print(flowkernels.backends())"
            return Stage("build", [PYTHON, "-c", code], 60, self._environment(""))
        command = [PYTHON, "-m", "benchmarks.gpu.build"]
        return Stage("build", command, 240, in_tree=False)

    def driver_build(self) -> Stage:
        """Build the driver if there is no prebuilt one."""
        command = [PYTHON, "-m", "tests.cuda.driver.build", "--output", str(self.driver.parent)]
        return Stage("driver build", command, 120, in_tree=False)

    def smoke(self, backend: str, seconds: float) -> Stage:
        """Every op once, and inside a CUDA graph."""
        name = f"smoke {backend}"
        lines = self._lines(name)
        command = [PYTHON, "-m", "benchmarks.gpu.smoke", "--device", self.device]
        command += ["--lines", str(lines), *self._chosen()]
        return Stage(
            name, command, seconds, self._environment(backend), name.replace(" ", "_"), lines,
            ("build",), module_missing("triton") if backend == "triton" else None,
        )  # fmt: skip

    def on_driver(self, name: str, seconds: float, *arguments: str) -> Stage:
        """A run of the driver; its results are the lines of its standard output."""
        command = [PYTHON, "-m", "benchmarks.gpu.drive", "--driver", str(self.driver)]
        lines = self._lines(name)
        command += ["--lines", str(lines), "--", *arguments, *self._driver_ops()]
        return Stage(
            name, command, seconds, section="driver", lines=lines, needs=self._needs_driver()
        )

    def sanitized(self, tool: str, seconds: float) -> Stage:
        """The driver under compute-sanitizer."""
        path, missing = sanitizer()
        command = [path, "--tool", tool, "--error-exitcode", "9"]
        # Without guards around the operands: the tool checks their bounds.
        command += [str(self.driver), "--check", "--sizes", "tiny", "--exact"]
        command += ["--seconds", str(seconds - 6), *self._driver_ops()]
        return Stage(
            f"sanitizer {tool}", command, seconds, missing=missing, needs=self._needs_driver()
        )

    def profiled(self, seconds: float) -> Stage:
        """Counters of a dozen kernels."""
        lines = self._lines("profile")
        command = [PYTHON, "-m", "benchmarks.gpu.profile", "--driver", str(self.driver)]
        command += ["--lines", str(lines), "--log", str(self.work / "logs" / "ncu.csv")]
        missing = None if profile.find() else "ncu was not found (PATH, /usr/local/cuda/bin)"
        return Stage(
            "profile", command, seconds, section="profile", lines=lines, missing=missing,
            needs=self._needs_driver(),
        )  # fmt: skip

    def tests(self, name: str, backend: str, which: str, seconds: float) -> Stage:
        """The tests of all ops on the device, in parallel; one line per failure."""
        lines = self._lines(name)
        command = [PYTHON, "-m", "pytest", "-q", "-p", "tests.cuda.on_device"]
        # pytest-benchmark warns that it does not time in parallel, and a warning is an error.
        command += ["-p", "no:cacheprovider", "-p", "no:benchmark", "--maxfail=200"]
        missing = module_missing("pytest")
        if module_missing("xdist") is None:
            command += ["-n", "2" if self.rehearse else "8"]
        if self.ops:
            which = f"({which}) and ({' or '.join(self.ops)})"
        environment = self._environment(backend)
        environment["FLOWKERNELS_TEST_DEVICE"] = self.device
        environment["FLOWKERNELS_TEST_LINES"] = str(lines)
        if backend == "triton":
            missing = missing or module_missing("triton")
        return Stage(
            name, [*command, "-k", which, *TESTS], seconds, environment, "tests", lines,
            ("build",), missing,
        )  # fmt: skip

    def _worker(self, name: str, backend: str, seconds: float, *arguments: str) -> Stage:
        lines = self._lines(name)
        command = [PYTHON, "-m", "benchmarks.gpu.worker", "--device", self.device]
        command += ["--lines", str(lines), "--seconds", str(max(1.0, seconds - 8))]
        command += [*arguments, *self._chosen(), *(["--tiny"] if self.rehearse else [])]
        return Stage(
            name, command, seconds, self._environment(backend), "rows", lines, ("build",)
        )  # fmt: skip

    def rows(self, implementation: str, seconds: float, *arguments: str) -> Stage:
        """The rows of an implementation."""
        backend = implementation if implementation in ("cuda", "triton") else "cuda"
        stage = self._worker(
            f"rows {implementation}",
            backend,
            seconds,
            "--implementation",
            implementation,
            *arguments,
        )
        if implementation == "triton":
            stage.missing = module_missing("triton")
        return stage

    def glow(self, backend: str, seconds: float, *implementations: str) -> Stage:
        """A Glow's training step in several implementations."""
        return self._worker(f"glow {backend}", backend, seconds, "--glow", *implementations)

    def training(self, seconds: float, *arguments: str) -> Stage:
        """Steps per second of training, launched and captured; or its kernels and variants."""
        name = "kernels of training" if "--kernels" in arguments else "training"
        lines = self._lines(name)
        command = [PYTHON, "-m", "benchmarks.gpu.training", "--device", self.device]
        command += ["--lines", str(lines), *arguments]
        return Stage(
            name, command, seconds, self._environment("cuda"), "training", lines,
            ("build",), module_missing("lightning"),
        )  # fmt: skip

    def _warm(self, implementation: str, seconds: float, rank: int | None = None) -> Stage:
        of_rank = [] if rank is None else ["--ranks", str(rank)]
        name = f"warm {implementation}{'' if rank is None else f' {rank}'}"
        backend = "triton" if implementation == "triton" else "cuda"
        stage = self._worker(
            name, backend, seconds, "--implementation", implementation, "--warm", *of_rank
        )  # fmt: skip
        stage.section, stage.missing = "", module_missing("triton")
        return stage

    # ---- the runs ------------------------------------------------------------------

    def whole(self) -> list[Stage]:
        """All stages, for one run of nine minutes."""
        tests = self.tests("tests cuda", "cuda", PROMISES, 60)
        ranks = range(ROUNDS)
        tests.background = (
            self._warm("triton", tests.seconds),
            *(self._warm("compiled", tests.seconds, rank) for rank in ranks),
        )
        return [
            self.build(),
            *([] if self.driver.exists() else [self.driver_build()]),
            self.smoke("cuda", 20),
            self.on_driver("driver check", 15, "--check", "--seconds", "12"),
            tests,
            self.rows("cuda", 45),
            self.on_driver("driver time", 20, "--time", "--seconds", "16"),
            self.profiled(12),
            self.rows("eager", 45),
            self.smoke("triton", 30),
            self.rows("triton", 55),
            self.rows("compiled", 75),
            self.glow("cuda", 18, "cuda", "eager", "normflows"),
            self.training(45, "--runs", "0", "--kernels", "--variants", "--seconds", "1"),
            self.sanitized("memcheck", 18),
            self.tests("tests triton", "triton", PROMISES, 90),
            self.tests("transforms cuda", "cuda", TRANSFORMS, 60),
            self.sanitized("racecheck", 20),
            self.training(75),
            self.glow("triton", 12, "triton"),
            self.glow("compiled", 40, "compiled"),
            self.sanitized("initcheck", 20),
        ]

    def rehearsal(self) -> list[Stage]:
        """The stages of a rehearsal without a GPU; see README.md."""
        tests = self.tests("tests cuda", "cuda", "value_parity and (slerp or vmf)", 90)
        warm = self._warm("eager", tests.seconds, 0)
        warm.missing = None
        tests.background = (warm,)
        return [
            self.build(),
            self.smoke("cuda", 60),
            self.on_driver("driver check", 600, "--check", "--sizes", "tiny", "--seconds", "5"),
            tests,
            self.rows("cuda", 60),
            self.on_driver("driver time", 90, "--time", "--sizes", "tiny"),
            self.profiled(30),
            self.rows("eager", 60),
            self.glow("cuda", 60, "cuda", "eager", "normflows"),
            self.training(60, "--seconds", "0.1", "--runs", "1"),
            self.sanitized("memcheck", 30),
            Stage("times out", [PYTHON, "-c", "import time; time.sleep(60)"], 1),
            Stage("fails", [PYTHON, "-c", "raise SystemExit('as it should')"], 10),
            Stage("needs it", [PYTHON, "-c", ""], 10, needs=("fails",)),
            Stage("lacks something", [PYTHON, "-c", ""], 10, missing="it is not here"),
        ]
