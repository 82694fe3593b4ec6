"""Pages whose text lies outside docs/, and links to files that lie there.

A page that has the comment `<!-- text: ../CHANGELOG.md -->` shows that file's text. In all pages a
link to such a file becomes a link to its page. A file of the checkout that has no page is named
instead, and a link to a file that is not there remains: Sphinx then reports it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parents[1]
ROOT = DOCS.parent
MARK = re.compile(r"^<!-- text: (\S+) -->$", re.MULTILINE)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"(^(?:```|~~~|:::).*?^(?:```|~~~|:::)\s*$)", re.MULTILINE | re.DOTALL)


@cache
def pages() -> dict[Path, str]:
    """The pages that show files from outside docs/, by file."""
    found = {ROOT / "README.md": "/index.md"}
    for page in sorted(DOCS.glob("*.md")):
        for mark in MARK.finditer(page.read_text()):
            found[(DOCS / mark[1]).resolve()] = f"/{page.name}"
    return found


def _link(match: re.Match[str], folder: Path) -> str:
    image, text, target = match.groups()
    if re.match(r"[a-z]+:|#|/", target):
        return match[0]
    name, _, anchor = target.partition("#")
    path = (folder / name).resolve()
    anchor = f"#{anchor}" if anchor else ""
    if path in pages():
        return f"[{text}]({pages()[path]}{anchor})"
    if path.is_relative_to(DOCS):
        if path.is_dir() and (path / "index.md").exists():
            path /= "index.md"
        if path.suffix in (".md", ".png", ".svg", ".jpg"):
            return f"{image}[{text}](/{path.relative_to(DOCS)}{anchor})"
    if path.exists() and path.is_relative_to(ROOT):
        name = f"`{path.relative_to(ROOT)}`"
        return name if text.strip("`") in (target, name.strip("`")) else f"{text} ({name})"
    return match[0]


def resolved(text: str, folder: Path) -> str:
    """`text` of a file in `folder`, its links as those of a page; code is left as it is."""
    parts = FENCE.split(text)
    parts[::2] = [LINK.sub(lambda match: _link(match, folder), part) for part in parts[::2]]
    return "".join(parts)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    page = Path(app.env.doc2path(name))
    text = source[0]
    mark = MARK.search(text)
    if mark:
        path = (page.parent / mark[1]).resolve()
        app.env.note_dependency(str(path))
        source[0] = text.replace(mark[0], resolved(path.read_text(), path.parent))
    else:
        source[0] = resolved(text, page.parent)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
