"""Loads both extensions and lists the ops that have CUDA kernels; needs no GPU.

    python -m benchmarks.gpu.registered

Every op and backward with a CPU kernel must have a CUDA kernel, except those of Inductor's, which
only code compiled for a CPU calls.
"""

from __future__ import annotations

import os
import sys

os.environ["FLOWKERNELS_BACKEND"] = "cuda"  # a missing or broken _C_cuda is an error

# Called by what python_ops/_mlp_compiled.py compiles for a CPU. On a GPU torch multiplies matrices.
INDUCTOR = {"flowkernels::mlp_rows", "flowkernels::mlp_rows_backward"}


def kernels(key: str) -> set[str]:
    """The library's ops with a kernel registered for a dispatch key."""
    import torch

    find = torch._C._dispatch_has_kernel_for_dispatch_key
    names = torch._C._dispatch_get_all_op_names()
    return {n for n in names if n.startswith("flowkernels::") and find(n, key)}


def main() -> int:
    """0 if nothing is missing."""
    import flowkernels
    from flowkernels import ops  # first: it loads torch's libraries
    from flowkernels import _C_cuda  # isort: skip

    cpu, cuda = kernels("CPU") - INDUCTOR, kernels("CUDA")
    missing = sorted(cpu - cuda)
    print(f"{_C_cuda.__file__}\n{flowkernels.build_info()}\n{_C_cuda.build_info()}")
    named = ", ".join(sorted(n.removeprefix("flowkernels::") for n in cuda))
    print(f"{len(ops.__all__)} public ops; kernels for the CPU {len(cpu)}, for CUDA {len(cuda)}:")
    print(named)
    for name in missing:
        print(f"FAILED {name} has a kernel for the CPU and none for CUDA")
    return 1 if missing or not cuda else 0


if __name__ == "__main__":
    sys.exit(main())
