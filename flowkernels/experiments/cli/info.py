"""``flowkernels info``."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.table import Table

__all__ = ["info"]

_PACKAGES = ("torch", "numpy", "lightning", "torchmetrics", "triton")


def info() -> None:
    """Print versions, build options, and the backend of each op with the reason.

    flowkernels info
    """
    import torch

    import flowkernels

    console = Console()
    about = Table(title="flowkernels", show_header=False)
    about.add_row("flowkernels", flowkernels.__version__)
    about.add_row("python", f"{platform.python_version()} ({platform.platform()})")
    for package in _PACKAGES:
        about.add_row(package, _version(package))
    about.add_row("CPU threads", str(torch.get_num_threads()))
    about.add_row("GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none")
    for name, value in _or_error(flowkernels.build_info, "extension").items():
        about.add_row(f"built: {name}", ", ".join(value) if isinstance(value, list) else str(value))
    console.print(about)
    console.print(_backends(_or_error(flowkernels.backends, "backends")))


def _backends(described: Mapping[str, Any]) -> Table:
    """A row per op, a column per device type."""
    rows = {
        op: served if isinstance(served, Mapping) else {"": served}
        for op, served in described.items()
    }
    devices = list(dict.fromkeys(device for served in rows.values() for device in served))
    table = Table("op", *devices, title="Backend of each op")
    for op, served in rows.items():
        table.add_row(op, *(str(served.get(device, "")) for device in devices))
    return table


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _or_error(query: Callable[[], Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    # This command must also work if the extension is missing or broken.
    try:
        return query()
    except (ImportError, OSError, RuntimeError) as error:
        return {name: str(error)}
