"""Checks the links of the built site: python docs/check_links.py build/docs/html

Every link to a page, a file or an anchor of the site must lead somewhere. Links to other sites are
not followed; they are written to external_links.txt in that folder, each with a page that has it.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Made for the search and the index; their links come from the pages themselves.
SKIPPED = ("search.html", "genindex.html", "py-modindex.html")


class Page(HTMLParser):
    """The anchors and links of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collects ids, names of anchors, and what elements refer to."""
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (tag == "a" and name == "name"):
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.links.append(value)


def check(site: Path) -> tuple[list[str], dict[str, str]]:
    """What is broken, and the links to other sites with a page of each."""
    pages = {path.resolve(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    broken: list[str] = []
    external: dict[str, str] = {}
    for path, page in pages.items():
        name = path.relative_to(site.resolve()).as_posix()
        if name in SKIPPED:
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                external.setdefault(link, name)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                broken.append(f"{name}: {link}: there is no such file")
            elif unquote(parts.fragment) not in {"", *pages.get(target, page).anchors}:
                broken.append(f"{name}: {link}: the page has no such anchor")
    return broken, external


def main() -> int:
    """Prints what is broken; 1 if anything is."""
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "index.html").exists():
        print("usage: python docs/check_links.py FOLDER, the folder of the built site")
        return 2
    site = Path(sys.argv[1])
    broken, external = check(site)
    lines = [f"{link}  {page}\n" for link, page in sorted(external.items())]
    (site / "external_links.txt").write_text("".join(lines))
    for line in broken:
        print(line)
    print(f"{len(broken)} broken links; {len(external)} links to other sites, not followed")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
