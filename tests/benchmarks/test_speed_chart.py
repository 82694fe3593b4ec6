"""The chart of speed shows the figures of the page that it is drawn from."""

from __future__ import annotations

import pytest

from benchmarks import speed_chart


def test_the_picture_is_current() -> None:
    drawn = speed_chart.draw(speed_chart.rows(speed_chart.PAGE.read_text()))
    assert speed_chart.PICTURE.read_text() == drawn, "run python -m benchmarks.speed_chart"


def test_rows_are_ratios_of_the_table() -> None:
    table = "| | flowkernels | nflows | zuko | command |\n|---|---|---|---|---|\n"
    page = f"before\n{speed_chart.BEGIN}{table}| `a`, b | 2.0 | 10 | 50.0 | c |\n{speed_chart.END}"
    (row,) = speed_chart.rows(page)
    assert row == speed_chart.Row("a, b", {"nflows": 5.0, "zuko": 25.0})
    picture = speed_chart.draw([row])
    assert ">5.0</text>" in picture
    assert ">25</text>" in picture


def test_a_page_without_the_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="lacks a table"):
        speed_chart.rows("no marks")
