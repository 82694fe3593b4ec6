"""Faults that users of other packages met, and the page that lists them."""

from __future__ import annotations

import pytest

from .user_reports import REPORTS, Report
from .user_reports.page import PAGE, text


@pytest.mark.parametrize("report", REPORTS, ids=lambda report: report.name)
def test_the_fault_is_not_here(report: Report) -> None:
    report.check()


def test_each_report_is_tried_once() -> None:
    assert len({report.url for report in REPORTS}) == len(REPORTS) >= 30


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == text(), "run python -m tests.reliability.user_reports"
