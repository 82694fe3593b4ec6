"""Flows of this package where other libraries expect their own.

Each module needs the library that it is for, and says so where that is missing.
"""

from __future__ import annotations

__all__: list[str] = []
