"""Builds both extensions in the tree that the stages run from.

    python -m benchmarks.gpu.build [--full] [--jobs N] [--architecture sm_90] [--tree DIR]

Reuses the objects in build/gpu-objects that are up to date, compiles the others in parallel, links
and loads the result. --full compiles everything. Writes build.json to the tree: which objects were
reused and which compiled, with seconds. Without a GPU the architecture must be given.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import objects, tree
from .compilation import Result, Step, binding_steps, compile_all, kernel_steps, say, setup

EXTENSIONS = ("_C", "_C_cuda")
# The libraries that each extension links.
LIBRARIES = {
    "_C": ["-lc10", "-ltorch_cpu", "-ltorch", "-ltorch_python"],
    "_C_cuda": [
        "-lc10", "-ltorch_cpu", "-ltorch", "-ltorch_python", "-lc10_cuda", "-ltorch_cuda",
        "-lcudart",
    ],
}  # fmt: skip


def architecture() -> str | None:
    """The architecture of this GPU, or the only one in TORCH_CUDA_ARCH_LIST."""
    torch = setup().torch
    if torch.cuda.is_available():
        major, minor = torch.cuda.get_device_capability()
        return f"sm_{major}{minor}"
    named = os.environ.get("TORCH_CUDA_ARCH_LIST", "").replace(".", "")
    return f"sm_{named}" if named.isdigit() else None


def problem(arch: str | None) -> str | None:
    """Why nothing can be built on this machine, or None."""
    torch = setup().torch
    home = setup().cpp_extension.CUDA_HOME
    if home is None and shutil.which("nvcc") is None:
        return "nvcc was not found: neither on PATH nor through CUDA_HOME"
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is not built for CUDA"
    if home is None:
        return "the CUDA toolkit was not found through nvcc; CUDA_HOME names it"
    if arch is None:
        return (
            f"torch {torch.__version__} sees no GPU; --architecture sm_90 builds for one elsewhere"
        )
    return None


@dataclass
class Build:
    """One build in a tree: its options and its record."""

    where: Path
    arch: str
    jobs: int
    full: bool
    steps: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def wanted(self) -> dict[str, list[Step]]:
        """The compilation steps of each extension."""
        kernels = kernel_steps(self.arch)
        cpu, cuda = binding_steps()
        return {
            "_C": [s for s in kernels if s.name.startswith("cpu/")] + cpu,
            "_C_cuda": [s for s in kernels if s.name.startswith("cuda/")] + cuda,
        }

    def object_for(self, step: Step, carried: bool) -> Path | None:
        """An up-to-date object, from an earlier build in this tree or from build/gpu-objects."""
        if self.full:
            return None
        kept = self.where / "objects" / step.object_name(step.digest())
        if kept.exists():
            self.steps.append({"name": step.name, "how": "kept"})
            return kept
        found, why = objects.lookup(step) if carried else (None, "absent")
        if found:
            self.steps.append({"name": step.name, "how": "carried"})
        elif why != "absent":
            print(f"{step.name}: the prebuilt object cannot be used: {why}", flush=True)
        return found

    def compile(self, wanted: dict[str, list[Step]], carried_bindings: bool) -> dict[str, Path]:
        """The object of every step, by name; empty if a compilation failed."""
        found: dict[str, Path] = {}
        missing = []
        for step in {s.name: s for each in wanted.values() for s in each}.values():
            path = self.object_for(step, carried_bindings or not step.against)
            if path:
                found[step.name] = path
            else:
                missing.append(step)
        print(f"{len(found)} objects reused, {len(missing)} to compile", flush=True)

        def note(result: Result) -> None:
            say(result)
            found[result.step.name] = result.path
            entry = {"name": result.step.name, "how": "compiled"}
            entry |= {"seconds": round(result.seconds, 1)}
            entry |= {"cpu_seconds": round(result.cpu_seconds, 1)}
            self.steps.append(entry | ({"problem": result.problem} if result.problem else {}))

        start = time.monotonic()
        results = compile_all(missing, self.where / "objects", self.jobs, note)
        self.facts["compile_seconds"] = round(time.monotonic() - start, 1)
        return {} if any(r.problem for r in results) else found

    def link(self, module: str, from_: list[Path]) -> str:
        """Link one extension; returns the linker's message on failure."""
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        extension = setup().cpp_extension
        directories = [*extension.library_paths("cuda"), f"{extension.CUDA_HOME}/lib64"]
        found = [flag for p in directories for flag in (f"-L{p}", f"-Wl,-rpath,{p}")]
        target = tree.compiled(self.where) / setup().TORCH.folder / f"{module}{suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [os.environ.get("CXX", "c++"), "-shared", *map(str, from_), *found]
        command += [*LIBRARIES[module], "-o", str(target)]
        start = time.monotonic()
        run = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True, check=False)
        self.facts[f"link{module}_seconds"] = round(time.monotonic() - start, 1)
        return "" if run.returncode == 0 else (run.stdout + run.stderr)[-6000:] or "no message"

    def load(self) -> int:
        """Import the extensions and count their kernels."""
        start = time.monotonic()
        command = [sys.executable, "-m", "benchmarks.gpu.registered"]
        code = subprocess.run(command, cwd=self.where, check=False).returncode
        self.facts["load_seconds"] = round(time.monotonic() - start, 1)
        return code

    def attempt(self, carried_bindings: bool) -> int:
        """Compile, link and load."""
        self.steps.clear()
        wanted = self.wanted()
        found = self.compile(wanted, carried_bindings)
        if not found:
            return 1
        for module in EXTENSIONS:
            if message := self.link(module, [found[s.name] for s in wanted[module]]):
                print(f"{module} does not link:\n{message}", flush=True)
                return 1
        for path in (self.where / "objects").glob("*.o"):
            if path not in found.values():  # compiled from older sources
                path.unlink()
        return self.load()

    def run(self) -> int:
        """Build; if prebuilt bindings do not load, build again with bindings compiled here."""
        code = self.attempt(carried_bindings=True)
        bindings = {s.name for each in binding_steps() for s in each}
        taken = [s["name"] for s in self.steps if s["how"] == "carried"]
        if code and bindings & set(taken):
            print("the prebuilt bindings failed: compiling them here", flush=True)
            self.facts["carried_bindings_failed"] = True
            code = self.attempt(carried_bindings=False)
        return code


def main() -> int:
    """Build; the compilers' messages go to standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="reuse no object")
    parser.add_argument(
        "--jobs", type=int, default=int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))
    )
    parser.add_argument("--architecture", default=architecture(), help="default: this GPU's")
    parser.add_argument("--tree", type=Path, default=tree.TREE, help="where to build")
    chosen = parser.parse_args()
    if why := problem(chosen.architecture):
        print(why)
        return 1
    start = time.monotonic()
    if shutil.which("nvcc") is None:
        os.environ["PATH"] += f":{setup().cpp_extension.CUDA_HOME}/bin"
    where = tree.make(where=chosen.tree.resolve())
    build = Build(where, chosen.architecture, chosen.jobs, chosen.full)
    print(f"building for {build.arch} on {platform.machine()} with {build.jobs} jobs", flush=True)
    code = 1
    try:
        code = build.run()
    finally:
        build.facts |= {
            "succeeded": code == 0,
            "seconds": round(time.monotonic() - start, 1),
            "jobs": build.jobs,
            "cores": os.cpu_count(),
            "architecture": build.arch,
            "full": build.full,
            "torch": setup().torch.__version__,
            "python": platform.python_version(),
        }
        text = json.dumps({**build.facts, "steps": build.steps}, indent=1)
        (where / "build.json").write_text(text + "\n")
    print(f"{'built' if code == 0 else 'FAILED'} in {build.facts['seconds']} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
