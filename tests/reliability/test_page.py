"""docs/reliability.md shows the kept figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from . import page


def test_the_page_agrees_with_the_results() -> None:
    text = page.PAGE.read_text()
    assert page.rewritten(text, page.tables()) == text, "run python -m tests.reliability page"


def test_any_campaign_becomes_a_section(tmp_path: Path) -> None:
    machine = {"date": "2026-01-02T03:04", "commit": "0123456789", "processor": "P", "cores": 2,
               "instruction_set": "avx2", "torch": "2.13.0"}  # fmt: skip
    record = {
        "campaign": "tides", "options": {"calls": 5000, "only": []}, "machine": machine,
        "seconds": 61.2, "findings": ["a | b"], "skipped": ["the moon: too far"],
        "figures": {"waves": 12345, "heights": {"low": 0.25, "high": [1, 2]},
                    "ports": {"north": {"ships": 1}, "south": {"boats": 2}}},
    }  # fmt: skip
    (tmp_path / "tides.json").write_text(json.dumps(record))
    text = page.tables(tmp_path)
    for line in (
        "### tides",
        "2026-01-02, commit 0123456, P, 2 cores, avx2 kernels, torch 2.13.0: 61 s (calls 5,000).",
        "| waves | 12,345 |",
        "| low | 0.25 |",
        "| ports | ships | boats |",
        "| north | 1 |  |",
        "- a \\| b",
        "- the moon: too far",
    ):
        assert line in text.splitlines()


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="marks"):
        page.rewritten("# Reliability\n", "")
