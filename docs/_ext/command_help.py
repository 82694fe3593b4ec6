"""The mark `<!-- commands -->`: what `flowkernels --help` and the help of its commands print."""

from __future__ import annotations

import os
from typing import Any
from unittest import mock

from sphinx.application import Sphinx

MARK = "<!-- commands -->"
WIDTH = "88"


def texts() -> dict[str, str]:
    """The help by command line."""
    plain = {"COLUMNS": WIDTH, "TERMINAL_WIDTH": WIDTH, "NO_COLOR": "1", "TERM": "dumb"}
    with mock.patch.dict(os.environ, plain):
        import typer.main
        from typer.testing import CliRunner

        from flowkernels.experiments.cli.app import app

        names = typer.main.get_command(app).commands  # type: ignore[attr-defined]
        found = {}
        for line in ["flowkernels", *(f"flowkernels {name}" for name in names)]:
            arguments = [*line.split()[1:], "--help"]
            result = CliRunner().invoke(app, arguments, prog_name="flowkernels")
            if result.exit_code:
                raise RuntimeError(f"`{line} --help` failed: {result.output}")
            found[line] = "\n".join(row.rstrip() for row in result.output.strip("\n").splitlines())
    return found


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    if MARK in source[0]:
        parts = [f"## {line}\n\n```text\n{text}\n```\n" for line, text in texts().items()]
        source[0] = source[0].replace(MARK, "\n".join(parts))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
