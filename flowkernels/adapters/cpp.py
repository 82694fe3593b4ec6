"""What a C++ program needs to run compiled models that call our ops."""

from __future__ import annotations

from pathlib import Path

__all__ = ["ops_library"]


def ops_library() -> Path:
    """The shared library that registers our ops with torch; it needs no Python.

    A C++ program that runs models of AOTInductor links against it, or opens it before it loads a
    model. The library lies beside, and finds, the one with the kernels, and was built for one minor
    version of torch: that of the program must be the same.

    Raises:
        FileNotFoundError: this build of the package has no such library.

    Example:
        >>> from flowkernels.adapters import cpp
        >>> cpp.ops_library().name.startswith("libflowkernels_torch.")
        True
    """
    from flowkernels.ops._extension import FOLDER

    found = sorted(FOLDER.glob("libflowkernels_torch.*"))
    if not found:
        raise FileNotFoundError(
            f"ops_library: {FOLDER} holds no libflowkernels_torch; install flowkernels again "
            "(pip install --no-build-isolation --force-reinstall --no-deps .)"
        )
    return found[0]
