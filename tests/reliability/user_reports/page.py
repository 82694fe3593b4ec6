"""The log of the reports, docs/user_reports.md."""

from __future__ import annotations

from pathlib import Path

from . import REPORTS

PAGE = Path(__file__).parents[3] / "docs" / "user_reports.md"
HEAD = """# Users' reports

Faults that users of other packages for normalizing flows, spheres and kernels reported in public,
tried on this package. Outcome: `held` where the package was right when first tried, `mended` where
it had the fault too. Each has its case in `tests/reliability/test_user_reports.py`, by the name
in the first column. `python -m tests.reliability.user_reports` writes this page.

"""


def text() -> str:
    """The page."""
    rows = [
        "| report | what was reported | what this package does | outcome |",
        "| --- |" + " --- |" * 3,
    ]
    rows += [f"| [{r.name}]({r.url}) | {r.said} | {r.here} | {r.outcome} |" for r in REPORTS]
    return HEAD + "\n".join(rows) + "\n"
