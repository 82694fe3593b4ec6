"""Kernels under normalizing flows and everything spherical, for PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "backends", "build_info", "ops"]

if TYPE_CHECKING:
    from . import ops


def __getattr__(name: str) -> Any:
    # torch and the extension are loaded when an op is first asked for.
    if name == "ops":
        import importlib

        return importlib.import_module("flowkernels.ops")
    raise AttributeError(f"module 'flowkernels' has no attribute {name!r}")


def backends() -> dict[str, dict[str, str]]:
    """What serves each op on each kind of device, and why.

    Example:
        >>> import flowkernels
        >>> "slerp" in flowkernels.backends()
        True
    """
    from flowkernels.ops._backends import backends as described

    return described()


def build_info() -> dict[str, Any]:
    """Facts of the compiled extension: torch, compiler, instruction sets, ops.

    Example:
        >>> import flowkernels
        >>> flowkernels.build_info()["cpu_isa"] in ("baseline", "avx2", "avx512")
        True
    """
    from flowkernels.ops._extension import _C

    info: dict[str, Any] = _C.build_info()
    return info
