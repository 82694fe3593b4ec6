"""Flows of this package where other libraries expect their own, and other libraries' flows on ours.

:func:`accelerate` and :func:`patch` put the layers of nflows, normflows, zuko and FrEIA on our
kernels, and :func:`report` says what ran there. The module :mod:`flowkernels.adapters.sbi` needs
its library, and says so where that is missing.
"""

from __future__ import annotations

from .acceleration import LIBRARIES, Patch, accelerate, patch, restore
from .calls import Record, Report, report

__all__ = [
    "LIBRARIES", "Patch", "Record", "Report", "accelerate", "patch", "report", "restore",
]  # fmt: skip
