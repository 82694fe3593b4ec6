"""What is compiled with which flags.

Three kinds of files are made of csrc, and a fourth where there is a CUDA toolkit:

libflowkernels_kernels  csrc/cpu, once per instruction set: no torch, no Python
libflowkernels_torch    csrc/bindings: registers the ops; made for one minor version of torch
_C                      csrc/python: Python's entries to both; made for one Python and one torch
_C_cuda                 csrc/cuda and csrc/bindings/cuda
"""

from __future__ import annotations

import platform
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Value-safe optimisations only: no errno or traps from math, fused multiply-adds,
# never fast-math. The bits of floating-point numbers wrap as integers (csrc/math/elementary.h).
KERNEL_FLAGS = [
    "-std=c++20", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fwrapv",
    "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror=switch", "-Wno-psabi",
    "-Wno-uninitialized", "-Wno-maybe-uninitialized", "-Wno-unknown-warning-option", "-g0",
]  # fmt: skip
# NDEBUG: torch's headers check more without.
BINDING_FLAGS = [
    "-std=c++20", "-O2", "-DNDEBUG", "-fvisibility=hidden", "-Wall", "-Wno-unknown-pragmas",
    "-Werror=switch", "-g0",
]  # fmt: skip
if platform.system() == "Linux":
    # at::parallel_for is a plain loop without it.  At link time the flag stays away: the
    # runtime must be the one that torch brings, or torch.set_num_threads would not reach it.
    BINDING_FLAGS.append("-fopenmp")
NVCC_FLAGS = ["-std=c++20", "-O3", "-lineinfo"]
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

# torch's headers, which all bindings include; compiled ahead of them.
TORCH_HEADERS = ROOT / "csrc" / "bindings" / "torch_headers.h"
# Sources that need neither torch nor Python, nor an instruction set of their own.
PLAIN = ["csrc/bindings/bessel_function.cpp", "csrc/bindings/bessel_plan.cpp"]


def find(*patterns: str) -> list[str]:
    """Files of the checkout, relative to it."""
    return sorted(str(p.relative_to(ROOT)) for pattern in patterns for p in ROOT.glob(pattern))


def cpu_kernels() -> list[str]:
    """Compiled once per instruction set; dispatch.cpp chooses among the copies."""
    return [s for s in find("csrc/cpu/*.cpp") if not s.endswith("dispatch.cpp")]


def plain() -> list[str]:
    """What libflowkernels_kernels has beside the kernels."""
    return [*PLAIN, "csrc/cpu/dispatch.cpp"]


# Files that are compiled together, which takes half the time of compiling each alone. All that is
# private to a binding is in a namespace of its op.
TOGETHER = [
    ["bindings/affine_coupling", "bindings/autoregressive", "bindings/rational_quadratic_spline"],
    ["bindings/affine_coupling_mlp", "bindings/identity_split"],
    ["bindings/bessel", "bindings/vmf", "bindings/vmf_mixture", "bindings/vmf_sample"],
    ["bindings/log_det", "bindings/slerp", "bindings/stereographic", "bindings/tangent_normal"],
    ["bindings/mlp", "bindings/mlp_compiled", "bindings/mlp_cpu"],
    ["python/bessel_tables", "python/entries", "python/module", "python/numpy"],
]


def torch_bindings() -> list[str]:
    """libflowkernels_torch."""
    return [s for s in find("csrc/bindings/*.cpp") if s not in PLAIN]


def python_bindings() -> list[str]:
    """_C."""
    return find("csrc/python/*.cpp")


def cpu_bindings() -> list[str]:
    """All that is compiled once for the CPU."""
    return [*torch_bindings(), *plain(), *python_bindings()]


def cuda_kernels() -> list[str]:
    """Compiled by nvcc."""
    return find("csrc/cuda/*.cu")


def both_devices() -> list[str]:
    """Sources of _C_cuda for the bindings that hold the dispatch of both devices in one file.

    Such a binding names FK_CUDA_KEY; under FK_ON_CUDA it registers its CUDA kernels and nothing
    else. The sources only include it: an object file has one name in both extensions.
    """
    generated = []
    for source in torch_bindings():
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
    """What _C_cuda has beside the kernels; it does not need the CPU's libraries."""
    return [*find("csrc/bindings/cuda/*.cpp"), *both_devices(), *PLAIN]
