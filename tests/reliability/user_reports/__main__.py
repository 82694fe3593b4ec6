"""Writes the log of the reports: python -m tests.reliability.user_reports"""

from __future__ import annotations

from .page import PAGE, text

if __name__ == "__main__":
    PAGE.write_text(text())
