"""``flowkernels info``."""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["info"]

_PACKAGES = ("torch", "numpy", "lightning", "torchmetrics", "triton")


def info() -> None:
    """Print versions, what was compiled, and which backend serves each op and why.

    flowkernels info
    """
    import torch
    from rich.console import Console
    from rich.table import Table

    import flowkernels

    console = Console()
    about = Table(title="flowkernels", show_header=False)
    about.add_row("flowkernels", flowkernels.__version__)
    about.add_row("python", f"{platform.python_version()} ({platform.platform()})")
    for package in _PACKAGES:
        about.add_row(package, _version(package))
    about.add_row("CPU threads", str(torch.get_num_threads()))
    about.add_row("GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none")
    for name, value in _described(flowkernels, "build_info").items():
        about.add_row(name, str(value))
    console.print(about)
    if backends := _described(flowkernels, "backends"):
        table = Table("op", "served by", title="backends")
        for name, value in backends.items():
            table.add_row(name, str(value))
        console.print(table)


def _version(package: str) -> str:
    if importlib.util.find_spec(package) is None:
        return "not installed"
    try:
        return version(package)
    except PackageNotFoundError:
        return "installed"


def _described(module: Any, name: str) -> Mapping[str, Any]:
    function = getattr(module, name, None)
    found = function() if callable(function) else {}
    return found if isinstance(found, Mapping) else {name: found}
