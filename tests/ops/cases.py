"""The cases of the shared checker: of every declared op.

Those of an op with arguments that take care, or edges of its own, are in the module of its family
beside this file; the others follow from the declaration (derived.py).
"""

from __future__ import annotations

import importlib
from pathlib import Path

from flowkernels.ops._declaration import OPS, PUBLIC

from . import derived
from .case import Case

HERE = Path(__file__).parent


def _cases() -> list[Case]:
    found: dict[str, list[Case]] = {}
    for op in PUBLIC.values():
        if (HERE / f"{op.family}.py").exists():
            module = importlib.import_module(f"{__package__}.{op.family}")
            found.setdefault(op.family, module.CASES)
        elif not op.random:
            found.setdefault(op.family, []).append(derived.case_of(op))
    return [case for family in sorted(found) for case in found[family]]


CASES = _cases()
# Ops of the dispatcher that have kernels, but draw their results: their tests are apart.
RANDOM = {name for op in PUBLIC.values() if op.random for name in op.served_by} - {
    case.op for case in CASES
}
UNTESTED = {name for name, op in OPS.items() if op.kernels} - {c.op for c in CASES} - RANDOM
assert not UNTESTED, f"no case calls {UNTESTED}"
