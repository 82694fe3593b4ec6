"""Registers this package's paths for torch-fidelity's perceptual path length."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from .paths import get_path, path_names

__all__ = ["register"]


def register(names: Iterable[str] | None = None, *, prefix: str = "") -> list[str]:
    """Register paths with ``torch_fidelity.register_interpolation``.

    torch-fidelity calls an interpolation with two batches of latents (N, D) and a number t, the
    signature of the paths in :mod:`flowkernels.interpolation`. Names that are registered already
    are skipped, so calling this twice is safe.

    Args:
        names: of the paths; all of :func:`flowkernels.interpolation.path_names` when left out.
        prefix: put before each name, such as "flowkernels_".

    Returns:
        The registered names, with the prefix, for
        ``calculate_metrics(ppl=True, ppl_z_interp_mode=name, ...)``.

    Raises:
        ImportError: torch-fidelity, or a package that it needs, is not installed.
        ValueError: a name is unknown.

    Example:
        >>> try:
        ...     print("slerp" in register())
        ... except ImportError as error:
        ...     print("torch-fidelity" in str(error))
        True
    """
    paths = {
        f"{prefix}{name}": get_path(name) for name in (path_names() if names is None else names)
    }
    try:
        registry = import_module("torch_fidelity.registry")
    except ModuleNotFoundError as error:
        raise ImportError(
            "registering paths with torch-fidelity needs the package "
            f"{(error.name or 'torch_fidelity').split('.')[0]!r}, which is not installed: "
            "pip install torch-fidelity"
        ) from error
    for name, path in paths.items():
        if name not in registry.INTERPOLATION_REGISTRY:
            registry.register_interpolation(name, path)
    return list(paths)
