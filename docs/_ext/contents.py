"""The mark `<!-- contents -->` of the first page: the navigation.

Pages are listed by their names and folders; what is not there is left out, and pages that no
section names come last, so that every page is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

MARK = "<!-- contents -->"
# A name that ends in a slash is a folder: its pages in alphabetical order.
SECTIONS = {
    "Guides": (
        "guides/start",
        "guides/ops",
        "guides/conditional",
        "guides/tables",
        "guides/sphere",
        "guides/interpolation",
        "guides/gpu",
        "guides/speed",
        "guides/numerics",
        "guides/",
        "deployment",
        "gallery",
        "examples",
    ),
    "Reference": (
        "ops",
        "ops/index",
        "flows",
        "spherical",
        "divergences",
        "interpolation",
        "cluster",
        "adapters",
        "torch_distributions",
        "api/index",
        "commands",
        "glossary",
    ),
    "Measurements": (
        "speed",
        "gpu",
        "accuracy",
        "reliability",
        "user_reports",
        "study",
        "study/",
        "notes",
    ),
    "The project": ("changelog", "versioning", "contributing", "security", "cite"),
}
# Listed by pages of their own.
ELSEWHERE = ("ops/", "api/")


def sections(pages: list[str]) -> dict[str, list[str]]:
    """The pages of each section."""
    left = dict.fromkeys(sorted(set(pages) - {"index"}))

    def taken(name: str) -> Iterator[str]:
        for page in list(left):
            if page == name or (name.endswith("/") and page.startswith(name)):
                del left[page]
                yield page

    found = {
        title: [page for name in names for page in taken(name)] for title, names in SECTIONS.items()
    }
    found["More"] = [page for page in left if not page.startswith(ELSEWHERE)]
    return {title: names for title, names in found.items() if names}


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    if MARK not in source[0]:
        return
    root = Path(app.srcdir)
    pages = [
        path.relative_to(root).with_suffix("").as_posix()
        for path in root.rglob("*.md")
        if not path.relative_to(root).parts[0].startswith(("_", "."))
    ]
    trees = [
        "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", "", *names, "```\n"])
        for title, names in sections(pages).items()
    ]
    source[0] = source[0].replace(MARK, "\n".join(trees))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True}
