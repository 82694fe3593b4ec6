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
BESSEL_DIM = 785  # S^784, for Fashion-MNIST


@dataclass(frozen=True)
class Subject:
    """An op; its reference and its plain formula have the same name.

    inputs      float64 tensors for a size; rounded to the row's dtype, differentiated
    before      positional arguments before the tensors
    options     keyword arguments
    arguments   maps the tensors to the op's positional arguments
    reference_compiles  whether torch.compile finishes within minutes on the reference
    """

    op: str
    inputs: Callable[[Size], Inputs]
    before: tuple[Any, ...] = ()
    options: Callable[[Size], dict[str, Any]] = field(default=lambda size: {})
    arguments: Callable[[Inputs], tuple[Any, ...]] = lambda tensors: tensors
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


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def _unit(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(_normal(*shape), dim=-1)


def _coupling(size: Size) -> Inputs:
    return _normal(*size), _normal(size[0], 2 * size[1], *size[2:])


def _split(size: Size) -> Inputs:
    return _normal(*size), _normal(*size)


def _diagonal(size: Size) -> Inputs:
    return (torch.rand(size, dtype=torch.float64) + 0.5,)


def _triangular(size: Size) -> Inputs:
    return (torch.rand((*size, size[-1]), dtype=torch.float64) + 0.5,)


def _plane(size: Size) -> Inputs:
    return (_normal(*size) / size[-1] ** 0.5,)


def _sphere(size: Size) -> Inputs:
    return (_unit(*size),)


def _two_points(size: Size) -> Inputs:
    return _unit(*size), _unit(*size)


def _kappas(size: Size) -> Inputs:
    # Above the values at which SciPy's ive underflows.
    return (BESSEL_DIM * (0.25 + 2 * torch.rand(size, dtype=torch.float64)),)


def _density(size: Size) -> Inputs:
    return _unit(*size), _unit(size[-1]), torch.tensor(float(size[-1]), dtype=torch.float64)


def _base(size: Size) -> Inputs:
    d = size[-1]
    return _plane(size)[0], _unit(d + 1), torch.tensor(float(d), dtype=torch.float64)


def _network(size: Size) -> Inputs:
    # The network of a coupling in 6 dimensions; a size is (rows, hidden width).
    rows, hidden = size
    widths = (3, hidden, hidden, 6)
    layers = [
        t for i, o in itertools.pairwise(widths) for t in (_normal(o, i) / i**0.5, _normal(o))
    ]
    return _normal(rows, 3), *layers


def _layer(size: Size) -> Inputs:
    x, *layers = _network(size)
    return torch.cat([x, _normal(*x.shape)], 1), *layers


def _with_lists(tensors: tuple[Tensor, ...]) -> tuple[Any, ...]:
    return tensors[0], tensors[1::2], tensors[2::2]


EVEN_QUICK, EVEN_FULL = (tuple(s for s in sizes if s[1] % 2 == 0) for sizes in (QUICK, FULL))
MATRICES: tuple[Size, ...] = ((64, 8), (512, 6), (65536, 3), (32, 96), (4, 768))
NETWORKS: tuple[Size, ...] = ((64, 64), (512, 64), (512, 128), (8192, 64))
# Densities take (rows, dim) only.
SPHERES_QUICK, SPHERES = (tuple(s for s in sizes if len(s) == 2) for sizes in (QUICK, FULL))
BESSEL: dict[str, Any] = {
    "reference_compiles": False, "quick": ((64,), (4096,), (65536,)), "full": BESSEL_SIZES,
}  # fmt: skip
ON_SPHERE = {**BESSEL, "options": lambda size: {"dim": BESSEL_DIM}}

SUBJECTS: tuple[Subject, ...] = (
    Subject("affine_coupling", _coupling, quick=((128, 1536), (65536, 3), *QUICK),
            dtypes=("float32", "bfloat16", "float64")),
    Subject("affine_coupling_split", _split, quick=EVEN_QUICK, full=EVEN_FULL),
    Subject("log_det_diagonal", _diagonal, options=lambda size: {"event_ndim": len(size) - 1}),
    Subject("log_det_triangular", _triangular, quick=MATRICES[:1], full=MATRICES),
    Subject("mlp", _network, arguments=_with_lists, quick=NETWORKS[:2], full=NETWORKS),
    Subject("affine_coupling_mlp", _layer, arguments=_with_lists, quick=NETWORKS[:2],
            full=NETWORKS),
    Subject("stereographic", _plane, dtypes=("float32", "bfloat16")),
    Subject("stereographic_inverse", _sphere),
    Subject("slerp", _two_points, options=lambda size: {"t": 0.3}),
    Subject("vmf_log_normalizer", _kappas, **ON_SPHERE, dtypes=("float32", "float64")),
    Subject("vmf_mean_resultant", _kappas, **ON_SPHERE),
    Subject("log_iv", _kappas, before=(BESSEL_DIM / 2 - 1,), **BESSEL, dtypes=("float64",)),
    Subject("vmf_log_prob", _density, reference_compiles=False, quick=SPHERES_QUICK,
            full=SPHERES),
    Subject("stereographic_vmf_log_prob", _base, reference_compiles=False,
            quick=SPHERES_QUICK, full=SPHERES),
)  # fmt: skip


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
