"""A pytest plugin for TRITON_INTERPRET=1: the parity tests of every op in bearable time.

The interpreter exchanges Triton's language for its own around every kernel and again
around every function that a kernel calls, which is most of its time.  In a process that
compiles nothing, once is enough.  The tests that repeat every sample in several
precisions or layouts take a part of the samples, evenly spread.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import FunctionType

import pytest
import triton
import triton.language as tl
from triton.runtime import interpreter

from ..ops.case import Case, Sample

# Test and parameters: every how many samples.  float32 and float64 see all of them.
EVERY = {"test_strides": 9, "float16": 4, "bfloat16": 4}


def _any_kernel() -> None:
    """Stands for the kernels whose names the interpreter looks up."""


def pytest_configure() -> None:
    """Patches the interpreter of the installed Triton, 3.6 to 3.9."""
    assert triton.knobs.runtime.interpret, "this plugin is for TRITON_INTERPRET=1"
    everything = FunctionType(_any_kernel.__code__, {"tl": tl, "core": tl.core})
    interpreter._patch_lang(everything)
    interpreter._patch_lang = lambda fn: interpreter._LangPatchScope()
    # Triton 3.6 takes arrays of one element for numbers, which NumPy 2.4 no longer does.
    tl.tensor.__index__ = lambda self: self.handle.data.item()


def _thinned(case: Case, step: int) -> Callable[[], list[Sample]]:
    samples = case.samples
    return lambda: samples()[::step]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Thins the samples of the tests that repeat them most."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or not isinstance(callspec.params.get("case"), Case):
            continue
        step = max((n for name, n in EVERY.items() if name in item.name), default=1)
        case = callspec.params["case"]
        callspec.params["case"] = replace(case, samples=_thinned(case, step))
