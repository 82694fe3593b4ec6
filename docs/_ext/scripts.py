"""The mark `<!-- scripts: folder -->`: every script of a folder of docs/, with its picture.

The first line of a script's docstring becomes the heading, the rest is Markdown. The picture of
`name.py` is `name.png` beside it, if that is there. The code is folded.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

MARK = re.compile(r"^<!-- scripts: (\S+) -->$", re.MULTILINE)


def section(script: Path, folder: str) -> str:
    """A script as Markdown."""
    docstring = ast.get_docstring(ast.parse(script.read_text())) or script.stem
    heading, _, rest = docstring.partition("\n")
    heading = heading.rstrip(".")
    picture = script.with_suffix(".png")
    image = f"![{heading}](/{folder}/{picture.name})\n" if picture.exists() else ""
    code = f"```{{literalinclude}} /{folder}/{script.name}\n:language: python\n```"
    fold = f"::::{{dropdown}} The code: {folder}/{script.name}\n{code}\n::::"
    return f"## {heading}\n\n{rest.strip()}\n\n{image}\n{fold}\n"


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    def expanded(mark: re.Match[str]) -> str:
        scripts = sorted((Path(app.srcdir) / mark[1]).glob("[a-z]*.py"))
        for script in scripts:
            app.env.note_dependency(str(script))
        return "\n".join(section(script, mark[1]) for script in scripts)

    source[0] = MARK.sub(expanded, source[0])


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
