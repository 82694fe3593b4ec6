"""Builds flowkernels and its compiled extensions.

flowkernels._C       CPU kernels and torch bindings, always
flowkernels._C_cuda  CUDA kernels, if nvcc and a CUDA build of torch are found

    pip install --no-build-isolation .

Environment: FLOWKERNELS_CUDA=0 skips _C_cuda, FLOWKERNELS_CUDA=1 requires it;
TORCH_CUDA_ARCH_LIST, MAX_JOBS and CXX as for any torch extension.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from setuptools import setup

ROOT = Path(__file__).parent
INSTALL = "pip install --no-build-isolation ."


def fail(problem: str, remedy: str) -> None:
    sys.exit(f"\nflowkernels cannot be built: {problem}\n  {remedy}\n")


def toolkit(nvcc: str) -> str | None:
    """The CUDA toolkit that an nvcc belongs to; nvcc may be a script or a symbolic link."""
    dry = subprocess.run(
        [nvcc, "--dryrun", "-E", "-x", "cu", os.devnull], capture_output=True, text=True
    )
    top = re.search(r"^#\$ TOP=(.+)$", dry.stderr, re.MULTILINE)
    return str(Path(top[1].strip()).resolve()) if top else None


# torch assumes the directory above nvcc, which is wrong if nvcc is a script or a link.
NVCC = shutil.which("nvcc")
if NVCC and not (os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")):
    home = toolkit(NVCC)
    if home:
        os.environ["CUDA_HOME"] = home

try:
    import torch
    from torch.utils import cpp_extension
except ModuleNotFoundError:
    fail(
        "torch is not importable in the environment of the build.",
        "Install it first (pip install 'torch>=2.9,<2.14'), then build in the same environment:"
        f"\n  {INSTALL}",
    )

VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
if not (2, 9) <= VERSION <= (2, 13):
    fail(
        f"torch {torch.__version__} is outside the supported range 2.9 to 2.13.",
        f"pip install 'torch>=2.9,<2.14' && {INSTALL}",
    )

if shutil.which(os.environ.get("CXX", "c++").split()[0]) is None:
    fail(
        "no C++ compiler was found (looked for $CXX, then c++).",
        "Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install;"
        " or set CXX to your compiler.",
    )

# Value-safe optimisations only: no errno or traps from math, fused multiply-adds,
# never fast-math. The bits of floating-point numbers wrap as integers (csrc/math/elementary.h).
KERNEL_FLAGS = [
    "-std=c++20", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fwrapv",
    "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi", "-Wno-uninitialized",
    "-Wno-maybe-uninitialized", "-Wno-unknown-warning-option", "-g0",
]  # fmt: skip
# NDEBUG as Python's own flags have it on most systems: torch's headers check more without.
BINDING_FLAGS = [
    "-std=c++20", "-O2", "-DNDEBUG", "-fvisibility=hidden", "-Wall", "-Wno-unknown-pragmas",
    "-Werror=switch", "-g0",
]  # fmt: skip
if platform.system() == "Linux":
    # at::parallel_for is a plain loop without it.  At link time the flag stays away: the
    # runtime must be the one that torch brings, or torch.set_num_threads would not reach it.
    BINDING_FLAGS.append("-fopenmp")
NVCC_FLAGS = ["-std=c++20", "-O3", "-lineinfo"]
# Sources linked into the bindings of every device.
SHARED_BINDINGS = ["csrc/bindings/bessel_plan.cpp", "csrc/bindings/bessel_function.cpp"]
ISA_FLAGS = {"baseline": []}
if platform.machine() in ("x86_64", "AMD64"):
    # For processors without AVX2. -O3 takes half as long again to compile; on a busy machine most
    # couplings were 5 to 15 % faster with it. Elsewhere the baseline is the only copy, and has -O3.
    ISA_FLAGS["baseline"] = ["-O1"]
    ISA_FLAGS["avx2"] = ["-mavx2", "-mfma", "-mf16c"]
    ISA_FLAGS["avx512"] = [
        "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mf16c",
        "-mprefer-vector-width=512",
    ]  # fmt: skip


TORCH_HEADERS = ROOT / "csrc" / "bindings" / "torch_headers.h"


def sources(*patterns: str) -> list[str]:
    return sorted(str(p.relative_to(ROOT)) for pattern in patterns for p in ROOT.glob(pattern))


def cpu_kernels() -> list[str]:
    """Compiled once per instruction set; dispatch.cpp chooses among the copies."""
    return [s for s in sources("csrc/cpu/*.cpp") if not s.endswith("dispatch.cpp")]


def cpu_bindings() -> list[str]:
    return [*sources("csrc/bindings/*.cpp"), "csrc/cpu/dispatch.cpp"]


def cuda_kernels() -> list[str]:
    return sources("csrc/cuda/*.cu")


def both_devices() -> list[str]:
    """Sources of _C_cuda for the bindings that hold the dispatch of both devices in one file.

    Such a binding names FK_CUDA_KEY; under FK_ON_CUDA it registers its CUDA kernels and nothing
    else. The sources only include it: an object file has one name in both extensions.
    """
    generated = []
    for source in sources("csrc/bindings/*.cpp"):
        if "FK_CUDA_KEY" not in (ROOT / source).read_text():
            continue
        target = ROOT / "csrc/bindings/cuda/generated" / Path(source).name
        text = f'#define FK_ON_CUDA\n#include "../../{target.name}"\n'
        if not target.exists() or target.read_text() != text:
            target.parent.mkdir(exist_ok=True)
            target.write_text(text)
        generated.append(str(target.relative_to(ROOT)))
    return generated


def cuda_bindings() -> list[str]:
    return [*sources("csrc/bindings/cuda/*.cpp"), *both_devices(), *SHARED_BINDINGS]


def is_gcc(compiler: list[str]) -> bool:
    """Whether it is GCC; Clang, which names other files and takes other options, is not."""
    run = subprocess.run(
        [*compiler, "-dM", "-E", "-x", "c++", os.devnull], capture_output=True, text=True
    )
    return "#define __GNUC__ " in run.stdout and "__clang__" not in run.stdout


def precompile(compiler: list[str], flags: list[str], header: Path, folder: Path) -> list[str]:
    """The options with which GCC reads a header's compiled form, made in `folder` if need be.

    The form serves later compilations with the same flags. Where it cannot, GCC says so and parses
    the header; where it cannot be made, there are no options. Either only takes longer.
    """
    text = header.read_text()
    version = subprocess.run([*compiler, "-v"], capture_output=True, text=True).stderr
    facts = [text, version, torch.__version__, *compiler, *flags]
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    copy = folder / f"{header.stem}.{key}.h"
    target = copy.with_suffix(".h.gch")
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in [*folder.glob(f"{header.stem}.*.h"), *folder.glob(f"{header.stem}.*.gch")]:
            old.unlink(missing_ok=True)
        copy.write_text(text)
        partial = target.with_suffix(f".{os.getpid()}.partial")
        command = [*compiler, *flags, "-w", "-x", "c++-header", str(copy), "-o", str(partial)]
        if subprocess.run(command).returncode:
            print(f"{header.name} is not compiled ahead; every binding parses it")
            partial.unlink(missing_ok=True)
            return []
        partial.replace(target)
    return ["-Winvalid-pch", "-include", str(copy)]


class Build(cpp_extension.BuildExtension):
    """Compiles csrc/cpu once per instruction set and links every copy into _C."""

    def build_extensions(self):
        # Two builds at once in one checkout would write each other's objects.
        Path(self.build_temp).mkdir(parents=True, exist_ok=True)
        with (Path(self.build_temp) / ".lock").open("w") as lock:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)
            super().build_extensions()

    def build_extension(self, ext):
        if ext.name == "flowkernels._C":
            ext.extra_objects = self.kernel_objects()
        flags = ext.extra_compile_args
        flags["cxx"] = [*flags["cxx"], *self.torch_headers(flags["cxx"])]
        super().build_extension(ext)

    def torch_headers(self, flags: list[str]) -> list[str]:
        """Options for the bindings of every extension: torch's headers, parsed once for all."""
        cxx = shlex.split(os.environ.get("CXX", "c++"))
        if self.compiler.compiler_type != "unix" or not is_gcc(cxx):
            return []
        # ccache does not take compiled headers unless it may ignore these differences: a macro of
        # the command line that a header does not use, and the time of day, which none here reads.
        os.environ.setdefault("CCACHE_SLOPPINESS", "pch_defines,time_macros")
        places = [*cpp_extension.include_paths(), *self.compiler.include_dirs]
        every = [*self.compiler.compiler_so[1:], *(f"-I{p}" for p in places)]
        every += [f for f in flags if not f.startswith("-DTORCH_EXTENSION_NAME")]
        return precompile(cxx, every, TORCH_HEADERS, ROOT / "build" / "torch-headers")

    def kernel_objects(self) -> list[str]:
        objects = []
        for isa, flags in ISA_FLAGS.items():
            objects += self.compiler.compile(
                cpu_kernels(),
                output_dir=str(Path(self.build_temp).resolve() / isa),
                include_dirs=[],
                extra_postargs={"cxx": [*KERNEL_FLAGS, f"-DFK_ISA={isa}", *flags]},
            )
        return objects


def cuda_problem() -> str | None:
    """Why _C_cuda cannot be built here; None if it can."""
    nvcc = NVCC or (
        cpp_extension.CUDA_HOME and shutil.which("nvcc", path=f"{cpp_extension.CUDA_HOME}/bin")
    )
    if torch.version.cuda is None:
        return f"torch {torch.__version__} was built without CUDA"
    if not nvcc:
        return "nvcc was not found (looked on PATH and in CUDA_HOME)"
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True, check=True).stdout
    release = re.search(r"release (\d+)\.", text)
    if release and release.group(1) != torch.version.cuda.split(".")[0]:
        return f"nvcc is of CUDA {release.group(1)}, torch of CUDA {torch.version.cuda}"
    if not os.environ.get("TORCH_CUDA_ARCH_LIST") and not torch.cuda.is_available():
        return (
            "torch sees no GPU to compile for, and TORCH_CUDA_ARCH_LIST names no architecture"
            " (TORCH_CUDA_ARCH_LIST=9.0 for an H100)"
        )
    return None


def cuda_extension():
    """_C_cuda if it can be built; fails with the reason if it was requested and cannot."""
    wanted = os.environ.get("FLOWKERNELS_CUDA", "auto")
    problem = cuda_problem() if wanted != "0" else None
    if problem and wanted == "1":
        fail(
            f"FLOWKERNELS_CUDA=1, but {problem}.",
            "_C_cuda needs a CUDA build of torch, the CUDA toolkit of the same major version and an"
            " architecture; unset FLOWKERNELS_CUDA to build for the CPU.",
        )
    if problem:
        print(f"flowkernels._C_cuda is not built: {problem}")
    if wanted == "0" or problem:
        return []
    return [
        cpp_extension.CUDAExtension(
            "flowkernels._C_cuda",
            [*cuda_kernels(), *cuda_bindings()],
            extra_compile_args={"cxx": BINDING_FLAGS, "nvcc": NVCC_FLAGS},
        )
    ]


def main() -> None:
    packages = ["flowkernels"]
    packages += sorted(
        ".".join(p.parent.relative_to(ROOT).parts)
        for p in ROOT.glob("flowkernels/*/**/__init__.py")
    )
    packages += ["flowkernels.ops"]
    packages += sorted(
        ".".join(["flowkernels.ops", *p.parent.relative_to(ROOT / "python_ops").parts])
        for p in ROOT.glob("python_ops/*/**/__init__.py")
    )
    setup(
        packages=packages,
        package_dir={"flowkernels.ops": "python_ops"},
        package_data={"flowkernels": ["py.typed", "experiments/study/configs/*.yaml"]},
        ext_modules=[
            cpp_extension.CppExtension(
                "flowkernels._C",
                cpu_bindings(),
                extra_compile_args={"cxx": BINDING_FLAGS},
            ),
            *cuda_extension(),
        ],
        cmdclass={"build_ext": Build},
    )


if __name__ == "__main__":
    main()
