"""Which implementation serves each op on each kind of device, and why.

FLOWKERNELS_BACKEND forces one: ``cuda``, ``triton`` or ``reference``. A forced backend
that is missing raises when the ops are imported; nothing falls back silently.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os

import torch

from ._extension import _C, load, path_of

FORCED = os.environ.get("FLOWKERNELS_BACKEND", "")
_KNOWN = ("", "cuda", "triton", "reference")

if FORCED not in _KNOWN:
    raise ImportError(
        f"FLOWKERNELS_BACKEND must be one of cuda, triton, reference or unset, got {FORCED!r}"
    )


def _cuda_problem() -> str | None:
    if path_of("_C_cuda") is None:
        return "flowkernels._C_cuda is not built (it needs nvcc and a CUDA build of torch)"
    return None


def _triton_problem() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install 'flowkernels[triton]')"
    version = importlib.metadata.version("triton")
    if tuple(int(part) for part in version.split(".")[:2]) < (3, 6):
        return f"triton {version} is older than 3.6 (pip install 'flowkernels[triton]')"
    return None


# Triton's own interpreter runs the kernels on CPU tensors, to test them without a GPU.
INTERPRETED = FORCED == "triton" and os.environ.get("TRITON_INTERPRET") == "1"


def _forced_triton_problem() -> str | None:
    if _triton_problem() is None and not INTERPRETED and not torch.cuda.is_available():
        return "no GPU is visible to torch (TRITON_INTERPRET=1 runs the kernels on the CPU, slowly)"
    return _triton_problem()


if FORCED == "cuda" and (problem := _cuda_problem()):
    raise ImportError(f"FLOWKERNELS_BACKEND=cuda, but {problem}")
if FORCED == "triton" and (problem := _forced_triton_problem()):
    raise ImportError(f"FLOWKERNELS_BACKEND=triton, but {problem}")

# Nothing here asks for a GPU: that would start the driver in every process that imports us.
ON_GPU = "cuda" if FORCED != "triton" and not _cuda_problem() else "triton"
if ON_GPU == "cuda":
    try:
        load("_C_cuda")  # registers the kernels
    except ImportError as error:
        raise ImportError(
            f"flowkernels._C_cuda is there but cannot be loaded: {error}. Build it again with the "
            f"environment's own torch ({torch.__version__}), or choose the Triton kernels with "
            "FLOWKERNELS_BACKEND=triton"
        ) from error


def install() -> None:
    """Registers the Triton kernels, where they are what serves a GPU."""
    if ON_GPU == "triton" and not _triton_problem():
        from .triton.registration import register

        register("CUDA", *(["CPU"] if INTERPRETED else []))


def gpu_problem() -> str:
    """Why a GPU has no kernels."""
    return f"{_cuda_problem()}; {_triton_problem()}"


def _gpu() -> str:
    if not torch.cuda.is_available():
        return "no GPU is visible to torch"
    if ON_GPU == "cuda":
        return "compiled CUDA"
    if _triton_problem():
        return f"plain torch, for lack of kernels: {gpu_problem()}"
    return f"Triton {importlib.metadata.version('triton')}"


def _cpu() -> str:
    if FORCED == "reference":
        return "plain torch (FLOWKERNELS_BACKEND=reference)"
    if INTERPRETED:
        return f"Triton {importlib.metadata.version('triton')}, interpreted"
    forced = ", forced by FLOWKERNELS_CPU_ISA" if os.environ.get("FLOWKERNELS_CPU_ISA") else ""
    return f"compiled C++ ({_C.build_info()['cpu_isa']}{forced})"


def backends() -> dict[str, dict[str, str]]:
    """What serves each public op: ``{op: {"cpu": ..., "cuda": ...}}``.

    An op that is served by kernels of another name says by which.

    Example:
        >>> import flowkernels
        >>> sorted(flowkernels.backends()["affine_coupling"])
        ['cpu', 'cuda']
        >>> flowkernels.backends()["log_det_triangular"]["cpu"].partition(": ")[2]
        'log_det_diagonal'
    """
    from ._declaration import PUBLIC

    cpu, gpu, visible = _cpu(), _gpu(), torch.cuda.is_available()
    described = {}
    for name, op in sorted(PUBLIC.items()):
        kernels = "" if op.served_by == (name,) else f": {', '.join(op.served_by)}"
        on_gpu = op.on_gpu if op.on_gpu and visible else f"{gpu}{kernels if visible else ''}"
        described[name] = {"cpu": cpu + kernels, "cuda": on_gpu}
    return described
