"""Builds flowkernels with its compiled parts (csrc/building), for the torch that is installed.

_C       and its libraries: CPU kernels and torch bindings, always
_C_cuda  CUDA kernels, if nvcc and a CUDA build of torch are found

    pip install --no-build-isolation .

Environment: FLOWKERNELS_CUDA=0 skips _C_cuda, FLOWKERNELS_CUDA=1 requires it;
TORCH_CUDA_ARCH_LIST, MAX_JOBS and CXX as for any torch extension, CPPFLAGS, CXXFLAGS and LDFLAGS
as for any C++ program. FLOWKERNELS_COMPILED names compiled parts that are there (make wheels).
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).absolute().parent
sys.path.insert(0, str(ROOT))  # pip runs this file from elsewhere

from csrc.building import graph  # noqa: E402
from csrc.building.sources import (  # noqa: E402
    BINDING_FLAGS,
    NVCC_FLAGS,
    cuda_bindings,
    cuda_kernels,
    python_bindings,
)

INSTALL = "pip install --no-build-isolation ."


def fail(problem: str, remedy: str) -> None:
    sys.exit(f"\nflowkernels cannot be built: {problem}\n  {remedy}\n")


if platform.system() == "Windows":
    fail(
        "its kernels are not ported to Windows.",
        "In the Windows Subsystem for Linux (wsl --install) it builds and runs as on Linux.",
    )


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
        "Install it first (pip install 'torch>=2.9'), then build in the same environment:"
        f"\n  {INSTALL}",
    )

VERSION = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
OLDEST, NEWEST = (2, 9), (2, 14)  # tested
if VERSION < OLDEST:
    fail(
        f"torch {torch.__version__} is older than {OLDEST[0]}.{OLDEST[1]}.",
        f"pip install 'torch>={OLDEST[0]}.{OLDEST[1]}' && {INSTALL}",
    )
if VERSION > NEWEST:
    print(
        f"flowkernels has been tested with torch up to {NEWEST[0]}.{NEWEST[1]}, and is built for "
        f"{torch.__version__}: run its tests (make test) before you rely on it.",
        file=sys.stderr,
    )

if shutil.which(os.environ.get("CXX", "c++").split()[0]) is None:
    fail(
        "no C++ compiler was found (looked for $CXX, then c++).",
        "Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install;"
        " or set CXX to your compiler.",
    )

TORCH = graph.Torch("{}.{}".format(*VERSION), tuple(cpp_extension.include_paths()))
PYTHON = graph.Python(sysconfig.get_path("include"), sysconfig.get_config_var("EXT_SUFFIX"))
COMPILED = f"flowkernels.compiled.{TORCH.folder}"


class Build(cpp_extension.BuildExtension):
    """The CPU's parts by one graph; _C_cuda as torch builds extensions."""

    def build_extension(self, ext):
        if ext.name != f"{COMPILED}._C":
            super().build_extension(ext)
            return
        if made := os.environ.get("FLOWKERNELS_COMPILED"):
            shutil.copytree(made, self.place() / "compiled", dirs_exist_ok=True)
            return
        try:
            graph.build(self.place(), [(TORCH, PYTHON)])
        except graph.BuildError as error:
            fail(*error.args)

    def place(self) -> Path:
        return Path(self.build_lib).resolve() / "flowkernels"

    def copy_extensions_to_source(self):
        (ROOT / "flowkernels" / "compiled" / TORCH.folder).mkdir(parents=True, exist_ok=True)
        super().copy_extensions_to_source()
        for built in graph.libraries(self.place(), TORCH):
            self.copy_file(str(built), str(ROOT / "flowkernels" / built.relative_to(self.place())))

    def get_outputs(self):
        return [*super().get_outputs(), *map(str, graph.libraries(self.place(), TORCH))]


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
            f"{COMPILED}._C_cuda",
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
            Extension(f"{COMPILED}._C", python_bindings()),
            *cuda_extension(),
        ],
        cmdclass={"build_ext": Build},
    )


if __name__ == "__main__":
    main()
