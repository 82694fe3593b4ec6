"""The speed of an op as an SVG of bars that takes its text colour from the page."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib
from matplotlib.figure import Figure

# Okabe and Ito: told apart by colour-blind readers, and on light and dark pages.
COLOURS = {"forward": "#0072B2", "forward+backward": "#E69F00"}
LOGARITHMIC = 20  # a chart with a longer bar has a logarithmic axis
INK = "#010203"  # becomes the colour of the page's text


def svg(op: str, rows: list[dict[str, Any]]) -> str:
    """Bars of the ratio to the fastest peer, for each size and direction."""
    settings = {
        "svg.fonttype": "none", "svg.hashsalt": op, "font.family": "sans-serif", "font.size": 10,
        "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK,
        "xtick.color": INK, "ytick.color": INK,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        sizes = list(dict.fromkeys(tuple(row["size"]) for row in rows))
        figure = Figure(figsize=(5.2, 1.1 + 0.55 * len(sizes)), layout="constrained")
        axes = figure.subplots()
        longest = max(row["ratio"] for row in rows)
        start = 1 if longest > LOGARITHMIC else 0  # where the bars begin
        for shift, (direction, colour) in zip((-0.19, 0.19), COLOURS.items(), strict=True):
            for row in rows:
                if row["direction"] == direction:
                    height = sizes.index(tuple(row["size"])) + shift
                    axes.barh(height, row["ratio"] - start, 0.34, start, color=colour)
                    axes.annotate(f"{row['ratio']:.1f}", (max(row["ratio"], 1), height), (4, 0),
                                  textcoords="offset points", va="center", fontsize=9)  # fmt: skip
        axes.axvline(1, color=INK, lw=1, zorder=0)
        axes.set_yticks(range(len(sizes)), [" x ".join(map(str, s)) for s in sizes])
        axes.invert_yaxis()
        if longest > LOGARITHMIC:
            axes.set_xscale("log")
            axes.set_xlim(min(0.8, *(row["ratio"] for row in rows)), 1.6 * longest)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        else:
            axes.set_xlim(0, 1.1 * max(longest, 1))
        axes.set_xlabel("time of eager torch / time of the op")
        axes.spines[["top", "right"]].set_visible(False)
        timed = {row["direction"] for row in rows}
        handles = [
            matplotlib.patches.Patch(color=colour, label=direction)
            for direction, colour in COLOURS.items()
            if direction in timed
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2, frameon=False,
                      fontsize=9)  # fmt: skip
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = re.sub(r"^.*?(?=<svg )", "", buffer.getvalue(), flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<svg ", f'<svg role="img" aria-label="Speed of {op}" ', text, count=1)
    # Lines of an HTML block must not be empty, and ids are the page's.
    text = "\n".join(line for line in text.splitlines() if line.strip())
    return text.replace(INK, "currentColor")
