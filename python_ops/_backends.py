"""Which implementation serves each op on each kind of device, and why.

FLOWKERNELS_BACKEND forces one: ``cuda``, ``triton`` or ``reference``. A forced backend
that is missing raises when the ops are imported; nothing falls back silently.
"""

from __future__ import annotations

import importlib.util
import os

import torch

from ._extension import _C

FORCED = os.environ.get("FLOWKERNELS_BACKEND", "")
_KNOWN = ("", "cuda", "triton", "reference")

if FORCED not in _KNOWN:
    raise ImportError(
        f"FLOWKERNELS_BACKEND must be one of cuda, triton, reference or unset, got {FORCED!r}"
    )


def _cuda_problem() -> str | None:
    if importlib.util.find_spec("flowkernels._C_cuda") is None:
        return "flowkernels._C_cuda is not built (it needs nvcc and a CUDA build of torch)"
    return None


def _triton_problem() -> str | None:
    return "this version has no Triton kernels"


if FORCED == "cuda" and (problem := _cuda_problem()):
    raise ImportError(f"FLOWKERNELS_BACKEND=cuda, but {problem}")
if FORCED == "triton" and (problem := _triton_problem()):
    raise ImportError(f"FLOWKERNELS_BACKEND=triton, but {problem}")


def _gpu() -> str:
    if not torch.cuda.is_available():
        return "no GPU is visible to torch"
    problems = [p for p in (_cuda_problem(), _triton_problem()) if p]
    return "no kernels: " + "; ".join(problems) if problems else "compiled CUDA"


def backends() -> dict[str, dict[str, str]]:
    """What serves each op: ``{op: {"cpu": ..., "cuda": ...}}``.

    Example:
        >>> import flowkernels
        >>> sorted(flowkernels.backends()["affine_coupling"])
        ['cpu', 'cuda']
    """
    info = _C.build_info()
    cpu = f"compiled C++ ({info['cpu_isa']})"
    if FORCED == "reference":
        cpu = "plain torch (FLOWKERNELS_BACKEND=reference)"
    return {name: {"cpu": cpu, "cuda": _gpu()} for name in info["ops"]}
