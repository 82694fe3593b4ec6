"""The launches that are compiled without a GPU: real calls of every op, recorded on meta tensors.

What is compiled is what the host code asks for: its pointers, integers, block sizes and
options; a kernel's signature is written down nowhere else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from flowkernels import _C
from flowkernels.ops.triton.engine import calls

PACKAGE = "flowkernels.ops.triton"
DTYPES = {torch.float32: "fp32", torch.float64: "fp64", torch.float16: "fp16",
          torch.bfloat16: "bf16", torch.int64: "i64"}  # fmt: skip
EVERY_DTYPE = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
PRECISIONS = (torch.float32, torch.float64)


@dataclass
class Launch:
    """One launch of a call, and the first of its kernel's arguments."""

    label: str
    call: calls.Call
    first: tuple[Any, ...]

    @property
    def kernel(self) -> Any:
        return self.call.kernel

    @property
    def args(self) -> tuple[Any, ...]:
        """The kernel's arguments in order."""
        return (*self.first, *self.call.numbers)

    @property
    def options(self) -> dict[str, Any]:
        return self.call.constants


@dataclass
class Variant:
    """A call of an op; `quick` ones are compiled by the test-suite too."""

    module: str
    function: str
    label: str
    make: Callable[[torch.dtype], tuple[Any, ...]]
    dtypes: tuple[torch.dtype, ...] = (torch.float32,)
    quick: bool = False


def empty(*shape: int, dtype: torch.dtype) -> Tensor:
    """A tensor without memory."""
    return torch.empty(shape, dtype=dtype, device="meta")


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type of log-dets and densities."""
    return torch.promote_types(dtype, torch.float32)


def _coupling(
    label: str,
    *,
    quick: bool = False,
    dtypes: tuple[torch.dtype, ...] = (torch.float32,),
    shape: tuple[int, ...] = (4096, 3072),
    coupled: int | None = None,
    channels_last: bool = False,
    scale_fn: str = "tanh",
    layout: str = "shift_scale",
    order: str = "scale_then_shift",
    inverse: bool = False,
    transform: str = "second",
    reduction: str = "row",
) -> list[Variant]:
    half = shape[1] if coupled is None else coupled
    options = (scale_fn, 2.0, 1.0, layout, order, inverse, transform, reduction)
    log_dets = (shape[0], half, *shape[2:]) if reduction == "none" else shape[:1]

    def tensors(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        x, params = empty(*shape, dtype=dtype), empty(shape[0], 2 * half, *shape[2:], dtype=dtype)
        if channels_last:
            params = params.to(memory_format=torch.channels_last)
        return x, params

    def backward(dtype: torch.dtype) -> tuple[Any, ...]:
        x, params = tensors(dtype)
        return (x, empty(*log_dets, dtype=wide(dtype)), x, params, *options)

    return [
        Variant("affine_coupling", "affine_coupling", label, lambda d: (*tensors(d), *options),
                dtypes, quick),
        Variant("affine_coupling", "affine_coupling_backward", label, backward, dtypes, quick),
    ]  # fmt: skip


def _couplings() -> Iterator[Variant]:
    yield from _coupling("tanh", dtypes=EVERY_DTYPE, quick=True)
    for scale_fn in (f for f in _C.options()["scale_fn"] if f != "tanh"):
        yield from _coupling(scale_fn, scale_fn=scale_fn, dtypes=(torch.float32, torch.float64))
    yield from _coupling("inverse", inverse=True)
    yield from _coupling("shift first", order="shift_then_scale")
    yield from _coupling("shift first, inverse", order="shift_then_scale", inverse=True)
    yield from _coupling("split, short rows", shape=(65536, 6), coupled=3)
    yield from _coupling("split, even", shape=(65536, 64), coupled=32, transform="even")
    yield from _coupling("split, few long rows", shape=(4, 2 << 20), coupled=1 << 20)
    images: dict[str, Any] = {"shape": (64, 48, 32, 32), "coupled": 24}
    yield from _coupling("interleaved", layout="interleaved", **images)
    yield from _coupling("each", reduction="none", dtypes=(torch.float32, torch.bfloat16))
    yield from _coupling("interleaved, each", layout="interleaved", reduction="none", **images)
    halves = (torch.float32, torch.bfloat16)
    yield from _coupling("channels last", channels_last=True, dtypes=halves, quick=True, **images)


def _spline(
    label: str,
    *,
    quick: bool = False,
    dtypes: tuple[torch.dtype, ...] = (torch.float32,),
    shape: tuple[int, ...] = (4096, 784),
    moved: int | None = None,
    bins: int = 8,
    boundary: str = "linear",
    convention: str = "nflows",
    inverse: bool = False,
    reduction: str = "row",
) -> list[Variant]:
    moved = shape[1] if moved is None else moved
    parts = 3 * bins + {"linear": -1, "circular": 0, "none": 1}[boundary]
    options = (bins, 3.0, boundary, 1e-3, 1e-3, 1e-3, convention, 1.0, inverse, "second", reduction)

    def forward(dtype: torch.dtype) -> tuple[Any, ...]:
        params = empty(shape[0], parts * moved, *shape[2:], dtype=dtype)
        return (empty(*shape, dtype=dtype), params, *options)

    def backward(dtype: torch.dtype) -> tuple[Any, ...]:
        each = (moved, *shape[2:]) if reduction == "none" else ()
        log_det = empty(shape[0], *each, dtype=wide(dtype))
        return (empty(*shape, dtype=dtype), log_det, *forward(dtype))

    op = "rational_quadratic_spline"
    return [
        Variant(op, op, label, forward, dtypes, quick),
        Variant(op, f"{op}_backward", label, backward, dtypes, quick),
    ]


def _splines() -> Iterator[Variant]:
    yield from _spline("8 bins", dtypes=EVERY_DTYPE, quick=True)
    yield from _spline("8 bins, inverse", dtypes=PRECISIONS, inverse=True)
    yield from _spline("circular, each", boundary="circular", reduction="none", dtypes=PRECISIONS)
    yield from _spline("all knots, zuko", boundary="none", convention="zuko", dtypes=PRECISIONS)
    images: dict[str, Any] = {"shape": (64, 48, 32, 32), "moved": 24}
    yield from _spline("images", dtypes=(torch.float32, torch.bfloat16), quick=True, **images)
    yield from _spline("short rows", shape=(65536, 6), moved=3)
    for bins in (1, 32, 128):
        yield from _spline(f"{bins} bins", bins=bins, boundary="none", dtypes=PRECISIONS)


def _log_dets() -> Iterator[Variant]:
    shapes = {"long rows": (4096, 4096), "short rows": (65536, 8), "few long rows": (2, 1 << 20)}
    for label, shape in shapes.items():

        def forward(dtype: torch.dtype, shape: tuple[int, int] = shape) -> tuple[Any, ...]:
            return empty(*shape, dtype=dtype), 1

        def backward(dtype: torch.dtype, shape: tuple[int, int] = shape) -> tuple[Any, ...]:
            return empty(shape[0], dtype=wide(dtype)), empty(*shape, dtype=dtype), 1

        quick = label == "long rows"
        yield Variant("log_det", "log_det_diagonal", label, forward, EVERY_DTYPE, quick)
        yield Variant("log_det", "log_det_diagonal_backward", label, backward, EVERY_DTYPE, quick)


def _stereographics() -> Iterator[Variant]:
    widths = {"long rows": (16384, 784), "short rows": (65536, 3), "wide rows": (64, 65536)}
    for label, (rows, d) in widths.items():
        for op, extra in (("stereographic", 0), ("stereographic_inverse", 1)):

            def forward(
                dtype: torch.dtype, rows: int = rows, width: int = d + extra
            ) -> tuple[Any, ...]:
                return (empty(rows, width, dtype=dtype),)

            def backward(
                dtype: torch.dtype, rows: int = rows, d: int = d, extra: int = extra
            ) -> tuple[Any, ...]:
                grad = empty(rows, d + 1 - extra, dtype=dtype)
                return grad, empty(rows, dtype=wide(dtype)), empty(rows, d + extra, dtype=dtype)

            quick, dtypes = (
                label == "long rows",
                EVERY_DTYPE if label == "long rows" else PRECISIONS,
            )
            yield Variant("stereographic", op, label, forward, dtypes, quick)
            yield Variant("stereographic", f"{op}_backward", label, backward, dtypes, quick)


def _slerps() -> Iterator[Variant]:
    shapes = {"one point": (8192, 512, ()), "points": (1024, 784, (16,)), "wide": (16, 65536, (4,)),
              "short": (65536, 3, ()), "a circle": (65536, 2, ())}  # fmt: skip
    for label, (rows, d, fractions) in shapes.items():

        def forward(
            dtype: torch.dtype, rows: int = rows, d: int = d, t: tuple[int, ...] = fractions
        ) -> tuple[Any, ...]:
            a = empty(rows, d, dtype=dtype)
            return a, a, empty(*t, dtype=wide(dtype))

        def backward(
            dtype: torch.dtype, rows: int = rows, d: int = d, t: tuple[int, ...] = fractions
        ) -> tuple[Any, ...]:
            a = empty(rows, d, dtype=dtype)
            return empty(rows, *t, d, dtype=dtype), a, a, empty(*t, dtype=wide(dtype))

        dtypes = EVERY_DTYPE if label == "points" else PRECISIONS
        yield Variant("slerp", "slerp", label, forward, dtypes, label == "points")
        yield Variant("slerp", "slerp_backward", label, backward, dtypes, label == "points")


def _bessels() -> Iterator[Variant]:
    names = ("log_iv", "log_iv_slope", "iv_ratio", "iv_ratio_slope", "vmf_log_normalizer",
             "vmf_log_peak", "vmf_divergence", "vmf_mean_resultant_complement",
             "vmf_concentration", "vmf_concentration_complement")  # fmt: skip
    for name in names:
        for label, order in (("order 391.5", 391.5), ("order 1", 1.0)):

            def forward(
                dtype: torch.dtype, order: float = order, name: str = name
            ) -> tuple[Any, ...]:
                return empty(1 << 20, dtype=dtype), order, name

            def backward(
                dtype: torch.dtype, order: float = order, name: str = name
            ) -> tuple[Any, ...]:
                x = empty(1 << 20, dtype=dtype)
                return x.to(wide(dtype)), x, order, name

            quick = name == "vmf_log_normalizer"
            dtypes = EVERY_DTYPE if quick else PRECISIONS
            yield Variant("bessel", "bessel", f"{name}, {label}", forward, dtypes, quick)
            yield Variant("bessel", "bessel_backward", f"{name}, {label}", backward, dtypes, quick)


def _densities() -> Iterator[Variant]:
    shapes = {"an own loc": (16384, 785, True), "one loc": (16384, 785, False),
              "short": (65536, 4, False), "wide": (64, 65536, True)}  # fmt: skip
    for label, (rows, p, own) in shapes.items():
        for op, less in (("vmf_log_prob", 0), ("stereographic_vmf_log_prob", 1)):

            def tensors(
                dtype: torch.dtype, rows: int = rows, p: int = p, own: bool = own, less: int = less
            ) -> tuple[Tensor, Tensor, Tensor]:
                loc = empty(rows, p, dtype=dtype) if own else empty(p, dtype=dtype)
                kappa = empty(rows, dtype=dtype) if own else empty(dtype=dtype)
                return empty(rows, p - less, dtype=dtype), loc, kappa

            def forward(dtype: torch.dtype, tensors: Any = tensors) -> tuple[Any, ...]:
                return (*tensors(dtype), True)

            def backward(
                dtype: torch.dtype, tensors: Any = tensors, rows: int = rows
            ) -> tuple[Any, ...]:
                return (empty(rows, dtype=wide(dtype)), *tensors(dtype), True)

            quick = label == "one loc"
            dtypes = EVERY_DTYPE if quick else PRECISIONS
            yield Variant("vmf", op, label, forward, dtypes, quick)
            yield Variant("vmf", f"{op}_backward", label, backward, dtypes, quick)


def _samplers() -> Iterator[Variant]:
    shapes = {"an own loc": (16384, 785, True), "one loc": (16384, 785, False),
              "short": (65536, 4, False), "wide": (64, 65536, False)}  # fmt: skip
    for label, (rows, p, own) in shapes.items():

        def tensors(
            dtype: torch.dtype, rows: int = rows, p: int = p, own: bool = own
        ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            loc = empty(rows, p, dtype=dtype) if own else empty(p, dtype=dtype)
            cosine = empty(rows, dtype=wide(dtype))
            return loc, cosine, cosine, empty(dtype=torch.int64)

        def backward(dtype: torch.dtype, tensors: Any = tensors) -> tuple[Any, ...]:
            loc, cosine, *rest = tensors(dtype)
            return empty(*cosine.shape, loc.shape[-1], dtype=dtype), loc, cosine, *rest

        quick = label == "one loc"
        dtypes = EVERY_DTYPE if quick else PRECISIONS
        yield Variant("tangent_normal", "tangent_normal", label, tensors, dtypes, quick)
        yield Variant("tangent_normal", "tangent_normal_backward", label, backward, dtypes, quick)
    for p in (3, 785):
        for path in (False, True):

            def cosines(dtype: torch.dtype, p: int = p, path: bool = path) -> tuple[Any, ...]:
                return empty(65536, dtype=dtype), empty(dtype=torch.int64), p, path

            label = f"p = {p}{', path' if path else ''}"
            yield Variant("vmf_sample", "vmf_sample_cosine", label, cosines, PRECISIONS, p == 785)


def _mixtures() -> Iterator[Variant]:
    for label, options in (
        ("density", (False, False, False, False, False)),
        ("responsibilities", (False, False, False, True, False)),
        ("statistics", (True, False, False, False, False)),
        ("gradients", (True, True, True, False, False)),
        ("gradients of statistics", (True, False, True, False, True)),
    ):

        def tensors(dtype: torch.dtype, options: Any = options) -> tuple[Any, ...]:
            matrix, numbers = empty(50, 65536, dtype=dtype), empty(50, dtype=dtype)
            common, each = empty(dtype=torch.float64), empty(65536, dtype=dtype)
            products = empty(100, 65536, dtype=dtype) if options[-1] else matrix
            given = products, numbers, numbers, common, each, matrix, each, numbers
            return *given, *options

        quick = label.startswith("gradients")
        yield Variant("vmf_mixture", "points", label, tensors, PRECISIONS, quick)


def variants() -> list[Variant]:
    """Every kernel, with every piece of mathematics, dtype and layout that it has."""
    return [
        *_couplings(), *_splines(), *_log_dets(), *_slerps(), *_stereographics(), *_bessels(),
        *_densities(), *_samplers(), *_mixtures(),
    ]  # fmt: skip


def launches(quick: bool) -> list[Launch]:
    """The launches behind the variants; the quick ones in float32 and bfloat16 only."""
    recorded: list[Launch] = []
    label = ""

    def record(call: calls.Call, first: tuple[Any, ...]) -> None:
        recorded.append(Launch(label, call, first))

    launch, calls.launch = calls.launch, record
    try:
        for variant in variants():
            if quick and not variant.quick:
                continue
            module = importlib.import_module(f"{PACKAGE}.{variant.module}")
            for dtype in variant.dtypes:
                if quick and dtype not in (torch.float32, torch.bfloat16):
                    continue
                label = f"{variant.function} {DTYPES[dtype]}, {variant.label}"
                getattr(module, variant.function)(*variant.make(dtype))
    finally:
        calls.launch = launch
    return recorded
