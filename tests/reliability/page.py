"""The kept figures of the campaigns as tables of docs/reliability.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flowkernels.experiments.data.files import write_text

from .campaign import RESULTS

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN = "<!-- figures: written by `python -m tests.reliability page` -->"
END = "<!-- end of figures -->"


def text_of(value: object) -> str:
    """A figure as a cell of a table."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(map(text_of, value)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {text_of(v)}" for k, v in value.items()) or "none"
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def of_mapping(name: str, figures: Mapping[str, Any]) -> list[str]:
    """A figure that has one for each of several things."""
    if figures and all(isinstance(each, Mapping) for each in figures.values()):
        columns = list(dict.fromkeys(key for each in figures.values() for key in each))
        rows = [[k, *(text_of(each.get(c, "")) for c in columns)] for k, each in figures.items()]
        return ["", *table([name, *columns], rows)]
    return ["", *table([name, ""], [[k, text_of(v)] for k, v in figures.items()])]


def figures_of(figures: Mapping[str, Any]) -> list[str]:
    """Plain figures in one table; each that is a mapping in one of its own."""
    plain = {k: v for k, v in figures.items() if not isinstance(v, Mapping)}
    lines = ["", *table(["figure", ""], [[k, text_of(v)] for k, v in plain.items()])]
    rest = {k: v for k, v in figures.items() if isinstance(v, Mapping)}
    alike = {tuple(v) for v in rest.values()}
    if len(alike) == 1 and len(rest) > 1 and not plain:
        return of_mapping("", rest)
    lines = lines if plain else []
    for name, each in rest.items():
        lines += of_mapping(name, each)
    return lines


def one_of_a_kind(lines: list[str]) -> list[str]:
    """The first of lines with the same beginning and end, and how many are like it."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        kinds.setdefault((line.split(" ", 1)[0], line.rpartition(": ")[2]), []).append(line)
    return [
        first if not others else f"{first} (and {len(others)} like it)"
        for first, *others in kinds.values()
    ]


def section(record: Mapping[str, Any]) -> list[str]:
    """What a campaign did, on what, and what it found when it was last run."""
    machine = record["machine"]
    options = ", ".join(f"{k} {text_of(v)}" for k, v in record["options"].items() if v)
    lines = [
        f"### {record['campaign']}",
        "",
        f"{machine['date'][:10]}, commit {machine['commit'][:7]}, {machine['processor']}, "
        f"{machine['cores']} cores, {machine['instruction_set']} kernels, torch "
        f"{machine['torch']}: {text_of(round(record['seconds']))} s"
        f"{f' ({options})' if options else ''}.",
        *figures_of(record["figures"]),
    ]
    for title, key in (("Open findings", "findings"), ("Not tried", "skipped")):
        each = [f"- {text_of(line)}" for line in one_of_a_kind(record[key])]
        lines += ["", f"{title}:", "", *each] if each else []
    if not record["findings"]:
        lines += ["", "Open findings: none."]
    return [*lines, ""]


def tables(folder: Path = RESULTS) -> str:
    """Every campaign whose figures are kept."""
    lines: list[str] = []
    for path in sorted(folder.glob("*.json")):
        lines += section(json.loads(path.read_text()))
    return "\n".join(lines).strip()


def rewritten(page: str, figures: str) -> str:
    """The page with other tables between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE}: the marks {BEGIN!r} and {END!r} are missing")
    return f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}"


def write() -> Path:
    """Rewrites the tables of the page; the page stays whole if this is interrupted."""
    return write_text(PAGE, rewritten(PAGE.read_text(), tables()))
