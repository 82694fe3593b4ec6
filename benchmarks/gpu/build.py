"""Builds both extensions into the tree that the stages run from.

    python -m benchmarks.gpu.build

By setup.py, as every installation; where ninja is missing, which torch compiles in
parallel with, by the same commands in threads.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import torch
from torch.utils import cpp_extension

from . import tree

JOBS = int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))


def _architecture() -> str:
    """Of the GPU at hand."""
    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}"


def _by_setup(environment: dict[str, str]) -> int:
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    return subprocess.run(command, cwd=tree.TREE, env=environment, check=False).returncode


class _Direct:
    """Compiles and links what setup.py would."""

    def __init__(self) -> None:
        sys.path.insert(0, str(tree.ROOT))
        import setup as flags

        self.flags = flags
        self.objects = tree.TREE / "objects"
        self.objects.mkdir(exist_ok=True)
        home = cpp_extension.CUDA_HOME or str(Path(shutil.which("nvcc") or "").parents[1])
        self.nvcc = f"{home}/bin/nvcc" if Path(f"{home}/bin/nvcc").exists() else "nvcc"
        includes = [*cpp_extension.include_paths("cuda"), sysconfig.get_path("include")]
        self.includes = [f"-isystem{p}" for p in (*includes, f"{home}/include")]
        self.libraries = [*cpp_extension.library_paths("cuda"), f"{home}/lib64"]

    def _cxx(self, source: str, flags: list[str], module: str, name: str) -> tuple[Path, list[str]]:
        to = self.objects / f"{name}_{Path(source).stem}.o"
        define = f"-DTORCH_EXTENSION_NAME={module}"
        return to, ["c++", *flags, "-fPIC", define, *self.includes, "-c", source, "-o", str(to)]

    def commands(self) -> dict[str, list[tuple[Path, list[str]]]]:
        """What to compile for each extension."""
        f = self.flags
        cpu = [
            self._cxx(s, [*f.KERNEL_FLAGS, f"-DFK_ISA={isa}", *flags], "_C", f"cpu_{isa}")
            for isa, flags in f.ISA_FLAGS.items()
            for s in f.sources("csrc/cpu/*.cpp")
            if not s.endswith("dispatch.cpp")
        ]
        bindings = [*f.sources("csrc/bindings/*.cpp"), "csrc/cpu/dispatch.cpp"]
        cpu += [self._cxx(s, f.BINDING_FLAGS, "_C", "binding") for s in bindings]
        cuda = [
            self._cxx(s, f.BINDING_FLAGS, "_C_cuda", "cuda_binding")
            for s in (*f.sources("csrc/bindings/cuda/*.cpp"), *f.SHARED_BINDINGS)
        ]
        arch = "sm_" + _architecture().replace(".", "")
        for source in f.sources("csrc/cuda/*.cu"):
            to = self.objects / f"cuda_{Path(source).stem}.o"
            command = [self.nvcc, *f.NVCC_FLAGS, f"-arch={arch}", "-Xcompiler", "-fPIC"]
            cuda.append((to, [*command, "-c", source, "-o", str(to)]))
        return {"_C": cpu, "_C_cuda": cuda}

    def _link(self, module: str, objects: list[str]) -> list[str]:
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        libraries = ["-lc10", "-ltorch_cpu", "-ltorch", "-ltorch_python"]
        if module == "_C_cuda":
            libraries += ["-lc10_cuda", "-ltorch_cuda", "-lcudart"]
        found = [flag for p in self.libraries for flag in (f"-L{p}", f"-Wl,-rpath,{p}")]
        target = tree.TREE / "flowkernels" / f"{module}{suffix}"
        return ["c++", "-shared", *objects, *found, *libraries, "-o", str(target)]

    def run(self) -> int:
        """Everything in parallel, the slowest first."""
        wanted = self.commands()
        pending = [c for commands in wanted.values() for c in commands]
        pending.sort(key=lambda c: Path(c[1][-3]).suffix != ".cu")
        failed = 0
        with ThreadPoolExecutor(JOBS) as pool:
            jobs = {pool.submit(_quietly, command): to for to, command in pending}
            for job in as_completed(jobs):
                code, seconds, text = job.result()
                print(f"{jobs[job].stem}: {seconds:.0f} s{'' if code == 0 else ' FAILED'}")
                if code:
                    failed += 1
                    print(text)
        if failed:
            return 1
        for module, commands in wanted.items():
            code, _, text = _quietly(self._link(module, [str(to) for to, _ in commands]))
            if code:
                print(text)
                return code
        return 0


def _quietly(command: list[str]) -> tuple[int, float, str]:
    start = time.monotonic()
    run = subprocess.run(command, cwd=tree.ROOT, capture_output=True, text=True, check=False)
    return run.returncode, time.monotonic() - start, (run.stdout + run.stderr)[-6000:]


def _check() -> int:
    """Imports what was built."""
    code = "import flowkernels, flowkernels._C_cuda as c\n"
    code += "print(flowkernels.__file__, c.build_info(), flowkernels.backends())"
    return subprocess.run([sys.executable, "-c", code], cwd=tree.TREE, check=False).returncode


def main() -> int:
    """Builds; the compilers' messages go to the standard output."""
    if shutil.which("nvcc") is None and cpp_extension.CUDA_HOME is None:
        print("nvcc was not found: neither on PATH nor through CUDA_HOME")
        return 1
    if torch.version.cuda is None or not torch.cuda.is_available():
        print(f"torch {torch.__version__} sees no GPU (built for CUDA {torch.version.cuda})")
        return 1
    tree.make()
    environment = {
        **os.environ,
        "FLOWKERNELS_CUDA": "1",
        "TORCH_CUDA_ARCH_LIST": _architecture(),
        "MAX_JOBS": str(JOBS),
    }
    ninja = cpp_extension.is_ninja_available()
    machine = f"{platform.machine()}, {JOBS} jobs, {'ninja' if ninja else 'no ninja: in threads'}"
    print(f"building for sm_{_architecture().replace('.', '')} on {machine}", flush=True)
    code = _by_setup(environment) if ninja else _Direct().run()
    return code or _check()


if __name__ == "__main__":
    sys.exit(main())
