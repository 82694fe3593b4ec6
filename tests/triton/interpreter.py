"""A pytest plugin for TRITON_INTERPRET=1: the parity tests of every op in bearable time.

The interpreter exchanges Triton's language for its own around every kernel and again
around every function that a kernel calls, which is most of its time.  In a process that
compiles nothing, once is enough.  The tests that repeat every sample in several
precisions or layouts take a part of the samples, evenly spread; of these, those run that cover
the others (tests/ops/covering.py).
"""

from __future__ import annotations

from collections import Counter
from types import FunctionType

import numpy as np
import pytest
import triton
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import TensorHandle

from ..ops import covering
from ..ops.case import Bad, Trial
from .remembered import remember

# Test and parameters: every how many samples.  float32 and float64 see all of them but those of the
# spline, which has many: its options come in twos, threes and fours, so that each of their values
# is among every fifth.
EVERY = {"test_strides": 9, "float16": 4, "bfloat16": 4, "rational_quadratic_spline": 5}


# Values outside the domain: NaN on a GPU, where an error would have to wait for the device.
UNSEEN = {"negative", "negative number", "negative x", "negative orders"}


def _any_kernel() -> None:
    """Stands for the kernels whose names the interpreter looks up."""


def pytest_configure() -> None:
    """Patches the interpreter of the installed Triton, 3.6 to 3.9."""
    assert triton.knobs.runtime.interpret, "this plugin is for TRITON_INTERPRET=1"
    # NumPy does the arithmetic. Kernels overflow and divide by zero in silence.
    np.seterr(all="ignore")
    everything = FunctionType(_any_kernel.__code__, {"tl": tl, "core": tl.core})
    interpreter._patch_lang(everything)
    interpreter._patch_lang = lambda fn: interpreter._LangPatchScope()
    # Triton 3.6 takes arrays of one element for numbers, which NumPy 2.4 no longer does.
    if not hasattr(interpreter._interpreter, "fma_fp64"):  # before Triton 3.9
        interpreter.InterpreterBuilder.create_fma = lambda self, x, y, z: _fused(x, y, z)
    tl.tensor.__index__ = lambda self: self.handle.data.item()
    remember()


def _fused(x: TensorHandle, y: TensorHandle, z: TensorHandle) -> TensorHandle:
    """The sum x y + z rounded once, or nearly so in float64, as on every GPU."""
    x_, y_, z_ = (np.asarray(v.data) for v in (x, y, z))
    if x_.dtype != np.float64:
        total = x_.astype(np.float64) * y_ + z_
        return TensorHandle(total.astype(x_.dtype), z.dtype.scalar)
    # Dekker (1971): the product's rounding error, from halves of 26 bits.
    product, halves = x_ * y_, []
    for v in (x_, y_):
        high = v * 134217729.0 - (v * 134217729.0 - v)
        halves.append((high, v - high))
    (xh, xl), (yh, yl) = halves
    lost = ((xh * yh - product) + xh * yl + xl * yh) + xl * yl
    return TensorHandle(product + z_ + lost, z.dtype.scalar)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Thins the samples of the tests that repeat them most, and what only a CPU can refuse."""
    seen: Counter[tuple[str, str]] = Counter()
    kept, left_out = [], []
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        trial, bad = params.get("trial"), params.get("bad")
        keep = not (isinstance(bad, Bad) and bad.label in UNSEEN)
        if isinstance(trial, Trial):
            step = max((n for name, n in EVERY.items() if name in item.name), default=1)
            place = (item.name.partition("[")[0] + str(params.get("dtype")), str(trial.case))
            keep = seen[place] % step == 0
            seen[place] += 1
        (kept if keep else left_out).append(item)
    items[:], covered = covering.thin(kept)
    left_out += covered
    config.hook.pytest_deselected(items=left_out)
