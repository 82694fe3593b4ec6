"""The reference: what every op means, in plain torch, for tests and benchmarks.

The textbook's formulas in float64, as short as they can be, and apart from all else: a module
here imports nothing of ours but its neighbours, and nothing that users run imports one of these.
Outside the arguments that tests use they may overflow or cancel where the ops do not.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

for _name in [module.name for module in iter_modules(__path__)]:
    for _function, _value in vars(import_module(f"{__name__}.{_name}")).items():
        if getattr(_value, "__module__", "") == f"{__name__}.{_name}" and _function[0] != "_":
            globals()[_function] = _value


def __getattr__(name: str) -> Callable[..., Any]:
    raise AttributeError(f"there is no definition of {name!r}")
