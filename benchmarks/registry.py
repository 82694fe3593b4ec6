"""The benchmark rows: every op at several sizes, dtypes, directions and thread counts."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

import flowkernels.ops  # noqa: F401 - declares the ops
from flowkernels.ops._declaration import PUBLIC, PublicOp

Size = tuple[int, ...]
Inputs = tuple[Tensor, ...]
Function = Callable[..., Any]

SMALL: Size = (64, 3)  # the fixed cost of a call dominates
LARGE: Size = (512, 3072)
QUICK: tuple[Size, ...] = (SMALL, (512, 6), (256, 3072), (64, 6, 64, 64), LARGE)
FULL: tuple[Size, ...] = (
    SMALL, (64, 8), (512, 6), (65536, 3), (65536, 6), (128, 1536), (256, 3072), LARGE,
    (64, 65536), (64, 6, 64, 64),
)  # fmt: skip
# From this many elements on, rows are also timed on all cores.
DIVISIBLE = 256 * 3072
DTYPES = {t: getattr(torch, t) for t in ("float32", "float64", "bfloat16")}
DIRECTIONS = ("forward", "forward+backward")
# Element counts; at 4 Mi float64 elements these functions would take seconds.
BESSEL_SIZES: tuple[Size, ...] = ((64,), (512,), (4096,), (65536,), (1048576,))


@dataclass(frozen=True)
class Subject:
    """An op; its reference and its plain formula have the same name.

    inputs      float64 tensors for a size; rounded to the row's dtype, differentiated
    before      positional arguments before the tensors
    options     keyword arguments
    arguments   maps the tensors to the op's positional arguments
    elementwise whether the op is a function of single elements
    reference_compiles  whether torch.compile finishes within minutes on the reference
    """

    op: str
    inputs: Callable[[Size], Inputs]
    before: tuple[Any, ...] = ()
    options: Callable[[Size], dict[str, Any]] = field(default=lambda size: {})
    arguments: Callable[[Inputs], tuple[Any, ...]] = lambda tensors: tensors
    elementwise: bool = False
    reference_compiles: bool = True
    quick: tuple[Size, ...] = QUICK
    full: tuple[Size, ...] = FULL
    dtypes: tuple[str, ...] = ("float32",)


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    subject: Subject
    size: Size
    dtype: str
    direction: str
    threads: int

    @property
    def label(self) -> str:
        """The test id, for pytest's -k."""
        shape = "x".join(map(str, self.size))
        return f"{self.subject.op}-{shape}-{self.dtype}-{self.direction}-{self.threads}t"

    def facts(self) -> dict[str, Any]:
        """For a table or JSON."""
        return {
            "op": self.subject.op,
            "size": list(self.size),
            "dtype": self.dtype,
            "direction": self.direction,
            "threads": self.threads,
            "device": "cpu",
        }

    def tensors(self) -> Inputs:
        """The inputs, the same for all implementations and runs."""
        torch.manual_seed(0)
        wanted = DTYPES[self.dtype]
        return tuple(t.to(wanted) for t in self.subject.inputs(self.size))

    def function(self, module: Any) -> Function:
        """The op's function in `module` (ops, reference or plain), as a function of the tensors."""
        subject = self.subject
        named = partial(getattr(module, subject.op), *subject.before, **subject.options(self.size))
        return lambda *tensors: named(*subject.arguments(tensors))


EVEN_QUICK, EVEN_FULL = (tuple(s for s in sizes if s[1] % 2 == 0) for sizes in (QUICK, FULL))
MATRICES: tuple[Size, ...] = ((64, 8), (512, 6), (65536, 3), (32, 96), (4, 768))
NETWORKS: tuple[Size, ...] = ((64, 64), (512, 64), (512, 128), (8192, 64))
# Rows (*batch, n) have no image layout.
ROWS_QUICK, ROWS = (tuple(s for s in sizes if len(s) == 2) for sizes in (QUICK, FULL))
# By what a size means (`Inputs.sizes`): the quick ones and all.
SIZES: dict[str, tuple[tuple[Size, ...], tuple[Size, ...]]] = {
    "rows": (ROWS_QUICK, ROWS),
    "images": (QUICK, FULL),
    "elements": (((64,), (4096,), (65536,)), BESSEL_SIZES),
    "matrices": (MATRICES[:1], MATRICES),
    "networks": (NETWORKS[:2], NETWORKS),
}
# Elements with 23 parameters each.
SPLINES: tuple[Size, ...] = ((512, 6), (4096, 16), (4096, 64))
# Of ops that take other sizes than their kind.
OWN_SIZES: dict[str, tuple[tuple[Size, ...], tuple[Size, ...]]] = {
    "affine_coupling": (((128, 1536), (65536, 3), *QUICK), FULL),
    "affine_coupling_split": (EVEN_QUICK, EVEN_FULL),
    "rational_quadratic_spline": (SPLINES[:1], SPLINES),
    "rational_quadratic_spline_split": (SPLINES[:1], SPLINES),
}
# torch.compile does not end within minutes on the formulas of these.
SLOW_TO_COMPILE = ("vmf_log_prob", "stereographic_vmf_log_prob")


def subject_of(op: PublicOp) -> Subject:
    """An op's line, from its declaration."""
    quick, full = OWN_SIZES.get(op.name, SIZES[op.inputs.sizes])
    return Subject(
        op.name,
        op.inputs.tensors,
        before=op.inputs.before,
        options=op.inputs.options,
        arguments=op.inputs.arguments,
        elementwise=op.inputs.sizes == "elements",
        reference_compiles=op.inputs.sizes != "elements" and op.name not in SLOW_TO_COMPILE,
        quick=quick,
        full=full,
        dtypes=op.inputs.dtypes,
    )


SUBJECTS = tuple(subject_of(op) for op in PUBLIC.values() if op.inputs.dtypes)


def every_core() -> int:
    """The number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _configurations(subject: Subject, full: bool) -> Iterator[tuple[Size, str, int]]:
    cores = every_core()
    sizes = subject.full if full else subject.quick
    main, *others = subject.dtypes
    for size in sizes:
        yield size, main, 1
        divided = math.prod(size) >= DIVISIBLE or size == sizes[-1]
        if cores > 1 and (full or divided):
            yield size, main, cores
    large = LARGE if LARGE in sizes else subject.quick[-1]
    for dtype in others:
        yield large, dtype, 1


def rows(full: bool = False) -> list[Row]:
    """Every row; rows of one op and size are adjacent."""
    return [
        Row(subject, size, dtype, direction, threads)
        for subject in SUBJECTS
        for (size, dtype, threads), direction in itertools.product(
            _configurations(subject, full), DIRECTIONS
        )
    ]
