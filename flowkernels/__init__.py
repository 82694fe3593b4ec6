"""Kernels under normalizing flows and everything spherical, for PyTorch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _moved

__version__ = "0.1.0"
__all__ = [
    "__version__", "adapters", "backends", "bases", "bijections", "build_info", "cluster",
    "distributions", "flows", "interpolation", "ops", "special",
]  # fmt: skip

if TYPE_CHECKING:
    from . import (
        adapters,
        bases,
        bijections,
        cluster,
        distributions,
        flows,
        interpolation,
        ops,
        special,
    )

_moved.install()


def __getattr__(name: str) -> Any:
    # Import torch and the extension only when one of the modules is first used.
    if name in __all__:
        import importlib

        return importlib.import_module(f"flowkernels.{name}")
    if name == "_C":
        from .ops._extension import _C

        return _C
    raise AttributeError(f"module 'flowkernels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def backends() -> dict[str, dict[str, str]]:
    """The backend of each op on each device type, and the reason for the choice.

    Example:
        >>> import flowkernels
        >>> "slerp" in flowkernels.backends()
        True
    """
    from flowkernels.ops._backends import backends as described

    return described()


def build_info() -> dict[str, Any]:
    """How the compiled extension was built: torch, compiler, instruction sets, ops.

    Example:
        >>> import flowkernels
        >>> flowkernels.build_info()["cpu_isa"] in ("baseline", "avx2", "avx512")
        True
    """
    from flowkernels.ops._extension import _C

    info: dict[str, Any] = _C.build_info()
    return info
