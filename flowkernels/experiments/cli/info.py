"""``flowkernels info``."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

__all__ = ["info"]

_PACKAGES = ("torch", "numpy", "lightning", "torchmetrics", "triton")


def info() -> None:
    """Print versions, build options, and the backend of each op with the reason.

    Needs no package beside the library's own: it is the first thing to ask a new installation.

    flowkernels info
    """
    import torch

    import flowkernels

    about = [
        ("flowkernels", flowkernels.__version__),
        ("python", f"{platform.python_version()} ({platform.platform()})"),
        *((package, _version(package)) for package in _PACKAGES),
        ("CPU threads", str(torch.get_num_threads())),
        ("GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none"),
    ]
    for name, value in _or_error(flowkernels.build_info, "extension").items():
        about.append(
            (f"built: {name}", ", ".join(value) if isinstance(value, list) else str(value))
        )
    _print_table("flowkernels", (), about)
    _print_table("Backend of each op", *_backends(_or_error(flowkernels.backends, "backends")))


def _backends(described: Mapping[str, Any]) -> tuple[Sequence[str], list[Sequence[str]]]:
    """The head, and a row per op with a column per device type."""
    rows = {
        op: served if isinstance(served, Mapping) else {"": served}
        for op, served in described.items()
    }
    devices = list(dict.fromkeys(device for served in rows.values() for device in served))
    cells = [(op, *(str(served.get(d, "")) for d in devices)) for op, served in rows.items()]
    return ("op", *devices), list(cells)


def _print_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table, by rich where it is installed."""
    if find_spec("rich"):
        from rich.console import Console
        from rich.table import Table

        table = Table(*head, title=title, show_header=bool(head))
        for row in rows:
            table.add_row(*row)
        Console().print(table)
        return
    lines = [*([head] if head else []), *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(title)
    for row in lines:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print(" ", "  ".join(cells).rstrip())


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
