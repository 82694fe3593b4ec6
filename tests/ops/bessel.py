"""Cases of log_iv, iv_ratio and the radial functions of the von Mises-Fisher distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference

from .case import Bad, Case, Sample

# Condition numbers between 1 and 2, so a rounding of the argument shows up to twice; and
# half precision arguments are compared after their own rounding.
_ULPS = {torch.float64: 32.0, torch.float32: 16.0}


def _argument(shape: tuple[int, ...], low: float = 0.2, high: float = 60.0) -> Tensor:
    g = torch.Generator().manual_seed(sum(shape))
    u = torch.rand(shape, dtype=torch.float64, generator=g)
    return low * (high / low) ** u


def _sample(shape: tuple[int, ...], high: float = 60.0, **options: Any) -> Sample:
    label = ", ".join(f"{k}={v}" for k, v in {"shape": shape, **options}.items())
    return Sample(label, (_argument(shape, high=high),), options)


_SHAPES: tuple[tuple[int, ...], ...] = ((), (1,), (7,), (3, 5, 2), (1031,))


def _over(option: str, *values: Any) -> list[Sample]:
    """Every shape with one value, and every value with one shape."""
    shapes = [_sample(s, **{option: values[0]}) for s in _SHAPES]
    return shapes + [_sample((40,), **{option: v}) for v in values[1:]]


def _bad_kappa(name: str, function: Callable[..., Tensor], argument: str = "kappa") -> list[Bad]:
    k = torch.ones(3)
    number: Any = "two"
    return [
        Bad("negative", lambda: function(torch.tensor([0.5, -2.0]), 3), ValueError,
            (name, f"`{argument}`", "-2")),
        Bad("integers", lambda: function(torch.ones(3, dtype=torch.int64), 3), TypeError,
            (name, f"`{argument}`", "Long")),
        Bad("no number", lambda: function(number, 3), TypeError, (name, f"`{argument}`", "str")),
        Bad("small dim", lambda: function(k, 1), ValueError, (name, "`dim`", "1")),
        Bad("fractional dim", lambda: function(k, 2.5), TypeError, (name, "`dim`", "float")),
    ]  # fmt: skip


def _vmf_case(
    name: str,
    argument: str = "kappa",
    samples: list[Sample] | None = None,
    ulps: dict[torch.dtype, float] = _ULPS,
    **options: Any,
) -> Case:
    public, plain = getattr(ops, name), getattr(reference, name)
    small = samples[-2:] if samples else [_sample((3,), dim=5), _sample((2, 2), dim=40, **options)]
    return Case(
        op="bessel",
        name=name,
        call=public,
        reference=plain,
        samples=lambda: samples or [*_over("dim", 5, 2, 3, 57, 58, 785, 100003), *small],
        small=lambda: small,
        empty=lambda: [Sample("empty", (torch.ones(0, 3, dtype=torch.float64),), {"dim": 5})],
        bad=lambda: _bad_kappa(name, public, argument),
        ulps=ulps,
    )


def _log_iv(x: Tensor, v: Tensor | float) -> Tensor:
    return ops.log_iv(v, x)


def _iv_ratio(x: Tensor, v: Tensor | float) -> Tensor:
    return ops.iv_ratio(v, x)


def _order_bad(name: str, function: Callable[..., Tensor]) -> list[Bad]:
    x = torch.ones(3)
    no_tensor: Any = None
    tracked = torch.ones(3, requires_grad=True)
    return [
        Bad("negative x", lambda: function(1.5, -x), ValueError, (name, "`x`", "-1")),
        Bad("negative order", lambda: function(-0.5, x), ValueError, (name, "`v`", "-0.5")),
        Bad("negative orders", lambda: function(-x, x), ValueError, (name, "`v`", "-1")),
        Bad("infinite order", lambda: function(float("inf"), x), ValueError, (name, "`v`", "inf")),
        Bad("NaN order", lambda: function(float("nan"), x), ValueError, (name, "`v`", "nan")),
        Bad("integers", lambda: function(1.5, x.int()), TypeError, (name, "`x`", "Int")),
        Bad("no tensor", lambda: function(1.5, no_tensor), TypeError, (name, "`x`", "NoneType")),
        Bad("order gradient", lambda: function(tracked, x), NotImplementedError,
            (name, "order `v`", "detach")),
    ]  # fmt: skip


def _each_order(shape: tuple[int, ...]) -> Sample:
    sample = _sample(shape)
    g = torch.Generator().manual_seed(7)
    v = 0.5 + 60 * torch.rand(shape, dtype=torch.float64, generator=g)
    return Sample(f"{shape}, an order each", sample.tensors, {"v": v.float().double()})


def _order_case(name: str, call: Callable[..., Tensor], op: str) -> Case:
    plain = getattr(reference, name)
    each = op == "bessel_order"
    small = [_each_order((3,))] if each else [_sample((3,), v=1.5), _sample((2, 2), v=31.25)]
    many = [_each_order(s) for s in ((1,), (7,), (3, 5, 2), (1031,))]
    return Case(
        op=op,
        name=name,
        call=call,
        reference=lambda x, v: plain(v, x),
        samples=lambda: many if each else _over("v", 1, 0.75, 2.75, 27.9, 28, 391.5, 1e3),
        small=lambda: small,
        empty=lambda: [Sample("empty", (torch.ones(0, 3, dtype=torch.float64),), {"v": 2.0})],
        bad=lambda: _order_bad(name, getattr(ops, name)),
        constants=("order",) if each else (),
        ulps=_ULPS,
    )


def _resultants() -> list[Sample]:
    g = torch.Generator().manual_seed(3)
    r = [0.05 + 0.5 * torch.rand(n, dtype=torch.float64, generator=g) for n in (1031, 4, 3)]
    return [Sample(f"{len(x)}", (x,), {"dim": d}) for x, d in zip(r, (200, 57, 3), strict=True)]


RADIAL_CASES = [
    _vmf_case("vmf_log_normalizer", relative=True),
    _vmf_case("vmf_log_peak"),
    # kappa A - L: a difference of two larger terms where the series are used
    _vmf_case("vmf_divergence", ulps={torch.float64: 128.0, torch.float32: 32.0}),
    _vmf_case("vmf_mean_resultant", complement=True),
    _vmf_case("vmf_concentration", "r", _resultants(), complement=True),
]

CASES = [
    _order_case("log_iv", _log_iv, "bessel"),
    _order_case("iv_ratio", _iv_ratio, "bessel"),
    _order_case("log_iv", _log_iv, "bessel_order"),
    _order_case("iv_ratio", _iv_ratio, "bessel_order"),
]
