"""The log of the reports, docs/user_reports.md."""

from __future__ import annotations

from pathlib import Path

from . import REPORTS

PAGE = Path(__file__).parents[3] / "docs" / "user_reports.md"
HEAD = """# Users' reports

Faults that users of other packages for normalizing flows, spheres and kernels reported in public,
and what this package does in the same case. Outcome: `held` if the package was right when the case
was first tried, `fixed` if it had the same fault. `tests/reliability/test_user_reports.py` tests
each case under the name in the first column. `python -m tests.reliability.user_reports` writes this
page.

"""


def text() -> str:
    """The page."""
    rows = [
        "| report | what was reported | what this package does | outcome |",
        "| --- |" + " --- |" * 3,
    ]
    rows += [f"| [{r.name}]({r.url}) | {r.said} | {r.here} | {r.outcome} |" for r in REPORTS]
    return HEAD + "\n".join(rows) + "\n"
