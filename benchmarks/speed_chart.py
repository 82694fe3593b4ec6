"""python -m benchmarks.speed_chart: draws docs/images/speed.svg from a table of docs/speed.md.

How many times as fast as nflows and zuko, on a logarithmic axis. The figures stand in one place,
the page; tests/benchmarks/test_speed_chart.py checks that the picture shows them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, PICTURE = ROOT / "docs" / "speed.md", ROOT / "docs" / "images" / "speed.svg"
BEGIN, END = "<!-- chart -->\n", "<!-- end of the chart's table -->"
# Of Okabe and Ito, told apart by the colour-blind.
COLOURS = {"nflows": "#E69F00", "zuko": "#0072B2"}
WIDTH, LEFT, RIGHT, TOP = 760, 270, 70, 58
ROW, BAR, FOOT = 46, 16, 34
TICKS = (1, 3, 10, 30, 100, 300)


@dataclass
class Row:
    """What was timed, and how many times as long each library takes."""

    name: str
    ratios: dict[str, float]


def rows(page: str) -> list[Row]:
    """The rows of the page's table."""
    table = page.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    if len(table) < 3:
        raise ValueError(f"{PAGE.name} lacks a table between {BEGIN.strip()} and {END}")
    head, _, *lines = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    found = []
    for cells in lines:
        milliseconds = {
            name: float(cell)
            for name, cell in zip(head, cells, strict=True)
            if name in COLOURS or name == "flowkernels"
        }
        ours = milliseconds.pop("flowkernels")
        found.append(
            Row(cells[0].replace("`", ""), {name: t / ours for name, t in milliseconds.items()})
        )
    return found


def _text(x: float, y: float, text: str, **attributes: str) -> str:
    more = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{more}>{escape(text)}</text>'


def _position(ratio: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * math.log(ratio) / math.log(TICKS[-1])


def label(ratio: float) -> str:
    """The ratio beside a bar."""
    return f"{ratio:.1f}" if ratio < 20 else f"{ratio:.0f}"


def draw(found: list[Row]) -> str:
    """The picture, on a light background of its own, so that it can be read on any page."""
    bottom = TOP + ROW * len(found)
    height = bottom + FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="13" role="img">',
        "<title>How many times as fast flowkernels is as nflows and zuko</title>",
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
        _text(16, 24, "Times as fast as nflows and zuko, one CPU thread", font_weight="bold"),
    ]
    for i, (name, colour) in enumerate(COLOURS.items()):
        parts.append(f'<rect x="{LEFT + 90 * i}" y="36" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(LEFT + 90 * i + 18, 47, name))
    for tick in TICKS:
        x = _position(tick)
        line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}" stroke="#d0d0d0"/>'
        parts += [line, _text(x, bottom + 18, str(tick), text_anchor="middle", fill="#555555")]
    for i, row in enumerate(found):
        y = TOP + ROW * i + (ROW - 2 * BAR) / 2
        parts.append(_text(LEFT - 12, y + BAR + 5, row.name, text_anchor="end"))
        for j, (name, ratio) in enumerate(row.ratios.items()):
            x, top = _position(ratio), y + BAR * j
            parts.append(
                f'<rect x="{LEFT}" y="{top:.1f}" width="{x - LEFT:.1f}" height="{BAR - 2}" '
                f'fill="{COLOURS[name]}"/>'
            )
            parts.append(_text(x + 6, top + BAR - 4, label(ratio), font_size="12"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    """Draws the picture."""
    PICTURE.write_text(draw(rows(PAGE.read_text())))


if __name__ == "__main__":
    main()
