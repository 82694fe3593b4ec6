"""The Bessel family at one order for ONNX, in few operators.

The formulas of :mod:`flowkernels.ops.composite.log_iv`, where Horner's scheme takes 300 operators
for a polynomial, with powers and sums over tables of coefficients: a series below
h = sqrt(v^2 + x^2) = 28, Debye's expansion (DLMF 10.41) from there on.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.fx.experimental.proxy_tensor import make_fx

from flowkernels.ops._declaration import dispatched
from flowkernels.ops.composite import log_iv as formulas

from .onnx_constants import Constants
from .onnx_functions import ELEMENTARY

_TERMS = 45  # of the series
_RATIO_TERMS = 70  # of the series of the ratio's derivative
_NEWTON = 4


def _padded(polynomials: list[list[Any]]) -> Tensor:
    """A row of coefficients for each polynomial."""
    width = max(map(len, polynomials))
    rows = [[float(c) for c in p] + [0.0] * (width - len(p)) for p in polynomials]
    return torch.tensor(rows, dtype=torch.float64)


def _ascending(v: float) -> Tensor:
    """Coefficients of 0F1(; v + 1; y) - 1 in y."""
    terms = [1.0]
    for j in range(1, _TERMS + 1):
        terms.append(terms[-1] / (j * (v + j)))
    return torch.tensor(terms[1:], dtype=torch.float64)


def _ratio_series(v: float) -> Tensor:
    """Coefficients of T2 in y, where A' = T2 / 0F1^2."""
    terms = [0.5 / (v + 1)]
    for k in range(1, _RATIO_TERMS):
        terms.append(terms[-1] * 2 * (2 * v + 2 * k - 1) / (k * (2 * v + k + 1) * (v + k + 1)))
    return torch.tensor(terms, dtype=torch.float64)


@functools.cache
def _tables(v: float) -> dict[str, Tensor]:
    found = {
        "debye": _padded(formulas.debye_polynomials()),
        "slope": _padded(formulas._slope_polynomials()),
        "curvature": _padded(formulas._curvature_polynomials()),
        "gap": _padded(formulas._gap_polynomials()),
    }
    if v < formulas.SERIES_BELOW:
        found |= {
            "series": _ascending(v), "next": _ascending(v + 1), "ratio": _ratio_series(v),
        }  # fmt: skip
    return found


def _power_sum(table: Tensor, x: Tensor, first: int) -> Tensor:
    """sum_j table_j x^(first + j)."""
    exponents = torch.arange(first, first + table.shape[-1], device=x.device).double()
    return (torch.pow(x.unsqueeze(-1), exponents) * table).sum(-1)


class _AtOrder:
    """The functions of x >= 0 at order v, or v + 1 over v where they are ratios."""

    def __init__(self, v: float, tables: dict[str, Tensor]) -> None:
        self.v, self.tables = v, tables
        self.has_series = v < formulas.SERIES_BELOW
        self.log_uniform = math.lgamma(v + 1) - math.log(2) - (v + 1) * math.log(math.pi)

    def _double_sum(self, name: str, q: Tensor, s: Tensor) -> Tensor:
        """sum_k s^k p_k(q), k = 1, 2, ..."""
        table = self.tables[name]
        powers = torch.pow(q.unsqueeze(-1), torch.arange(table.shape[1]).double())
        of_each = (powers.unsqueeze(-2) * table).sum(-1)
        return (
            torch.pow(s.unsqueeze(-1), torch.arange(1, table.shape[0] + 1).double()) * of_each
        ).sum(-1)

    def _both(
        self, x: Tensor, low: Callable[[Tensor], Tensor], high: Callable[..., Tensor]
    ) -> Tensor:
        """`low` by the series, `high` of (x, h) by the expansion."""
        if not self.has_series:
            return high(x, self._h(x))
        limit = math.sqrt(formulas.SERIES_BELOW**2 - self.v**2)
        below = x < limit
        xd = torch.where(below, limit, x)
        return torch.where(below, low(torch.where(below, x, 0.0)), high(xd, self._h(xd)))

    def _h(self, x: Tensor) -> Tensor:
        large = torch.clamp(x, min=max(self.v, 1.0))
        return large * torch.sqrt((x / large).square() + (self.v / large).square())

    def _sum0(self, x: Tensor) -> Tensor:
        return _power_sum(self.tables["series"], x * x / 4, 1)

    def _rest(self, x: Tensor, h: Tensor) -> Tensor:
        """x^2 / (h + v) - L."""
        v = self.v
        if v >= 10:
            a = x / (h + v) * x / v
            gap = self._double_sum("gap", v / h, torch.full_like(h, 1 / v))
            return v * torch.log1p(a / 2) + torch.log1p(a) / 2 + x / (h + v) * x / h * gap
        tail = self._double_sum("debye", (v / h).square(), 1 / h)
        const = math.lgamma(v + 1) - math.log(2 * math.pi) / 2 + v
        return v * torch.log((h + v) / 2) + torch.log(h) / 2 - const - tail

    def log_0f1(self, x: Tensor) -> Tensor:
        """log 0F1(; v + 1; x^2 / 4)."""
        return self._both(
            x,
            lambda x: torch.log1p(self._sum0(x)),
            lambda x, h: x * (x / (h + self.v)) - self._rest(x, h),
        )

    def peak(self, x: Tensor) -> Tensor:
        """x - L."""
        v = self.v
        difference = x - self.log_0f1(x)

        def high(x: Tensor, h: Tensor) -> Tensor:
            return v - v * (v / (h + x)) + self._rest(x, h)

        large = self._both(x, lambda x: x, high)
        limit = max(v, math.sqrt(max(formulas.SERIES_BELOW**2 - v * v, 0.0)))
        return torch.where(x < limit, difference, large)

    def divergence(self, x: Tensor) -> Tensor:
        """x A - L."""

        def high(x: Tensor, h: Tensor) -> Tensor:
            pe = self._slope_sum(h)
            return self._rest(x, h) - (x / h).square() * (0.5 + pe)

        return self._both(x, lambda x: x * self._low_ratio(x) - torch.log1p(self._sum0(x)), high)

    def _slope_sum(self, h: Tensor) -> Tensor:
        return self._double_sum("slope", (self.v / h).square(), 1 / h)

    def _low_ratio(self, x: Tensor) -> Tensor:
        above = 1 + _power_sum(self.tables["next"], x * x / 4, 1)
        return x / (2 * (self.v + 1)) * above / (1 + self._sum0(x))

    def ratio(self, x: Tensor) -> Tensor:
        """A = I_{v+1} / I_v."""
        return self._both(
            x,
            self._low_ratio,
            lambda x, h: x * (1 / (h + self.v) - (0.5 + self._slope_sum(h)) / h / h),
        )

    def complement(self, x: Tensor) -> Tensor:
        """1 - A."""
        v = self.v
        return self._both(
            x,
            lambda x: 1 - self._low_ratio(x),
            lambda x, h: (v + v * (v / (h + x))) / (h + v) + x / h / h * (0.5 + self._slope_sum(h)),
        )

    def ratio_slope(self, x: Tensor) -> Tensor:
        """A'."""
        v = self.v

        def low(x: Tensor) -> Tensor:
            return _power_sum(self.tables["ratio"], x * x / 4, 0) / (1 + self._sum0(x)).square()

        def high(x: Tensor, h: Tensor) -> Tensor:
            s, t = 1 / h, v / h
            m = self._double_sum("curvature", t * t, s)
            return s * t / (1 + t) + s * s * (0.5 - t * t - m)

        return self._both(x, low, high)

    def log_iv(self, x: Tensor) -> Tensor:
        """log I_v(x)."""
        v = self.v

        def low(x: Tensor) -> Tensor:
            power = v * torch.log(x / 2) if v else torch.zeros_like(x)
            return power - math.lgamma(v + 1) + torch.log1p(self._sum0(x))

        def high(x: Tensor, h: Tensor) -> Tensor:
            tail = self._double_sum("debye", (v / h).square(), 1 / h)
            # asinh(v / x) of quotients in range, also at x = 0
            angle = torch.where(
                x > v, torch.log1p(v / _positive(x) + v / (h + x) * (v / _positive(x))), 0.0
            )
            angle = torch.where(x > v, angle, torch.log((v + h) / torch.where(x > v, 1.0, x)))
            product = v * angle if v else torch.zeros_like(x)
            return h - product - torch.log(2 * math.pi * h) / 2 + tail

        return self._both(x, low, high)

    def log_iv_slope(self, x: Tensor) -> Tensor:
        """The derivative of log I_v."""
        v = self.v
        return self._both(
            x,
            lambda x: self._low_ratio(x) + (v / x if v else torch.zeros_like(x)),
            lambda x, h: h / x - x / h / h * (0.5 + self._slope_sum(h)),
        )

    def concentration(self, r: Tensor, complement: bool) -> Tensor:
        """The kappa with A(kappa) = r, by Newton's method on A / (1 - A^2)."""
        dim = 2 * self.v + 2
        target, rest = (1 - r, r) if complement else (r, 1 - r)
        quotient = target / (rest * (1 + target))
        kappa = quotient * (dim - target * target)
        for _ in range(_NEWTON):
            a = self.ratio(kappa)
            gap = self.complement(kappa) * (1 + a)
            kappa = kappa + (quotient * gap - a) * gap / (self.ratio_slope(kappa) * (1 + a * a))
        return kappa

    def function(self, name: str, x: Tensor) -> Tensor:
        """A function by its name in csrc/bindings/bessel_function.cpp."""
        match name:
            case "log_iv":
                return self.log_iv(x)
            case "log_iv_slope":
                return self.log_iv_slope(x)
            case "iv_ratio" | "vmf_mean_resultant":
                return self.ratio(x)
            case "iv_ratio_slope" | "vmf_mean_resultant_slope":
                return self.ratio_slope(x)
            case "vmf_log_normalizer":
                return self.log_uniform - self.log_0f1(x)
            case "vmf_log_normalizer_relative":
                return -self.log_0f1(x)
            case "vmf_log_peak":
                return self.peak(x) + self.log_uniform
            case "vmf_divergence":
                return self.divergence(x)
            case "vmf_mean_resultant_complement":
                return self.complement(x)
            case "vmf_concentration":
                return self.concentration(x, False)
            case "vmf_concentration_complement":
                return self.concentration(x, True)
        raise NotImplementedError(f"onnx.export: no formula of {name!r}")


def _positive(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 1.0)


def inline(program: ExportedProgram) -> None:
    """Writes the formulas in place of a program's calls of `bessel`."""
    to = Constants(program)
    written: dict[tuple[float, str], fx.Node] = {}
    for node in list(to.graph.nodes):
        if node.target is not dispatched("bessel"):
            continue
        x, order, name = node.args
        tables = _tables(float(order))
        assert to.mode is not None

        def formula(x: Tensor, *given: Tensor, order: float = order, name: str = name) -> Tensor:
            at = _AtOrder(float(order), dict(zip(_tables(float(order)), given, strict=True)))
            out = at.function(name, x.double())
            return out.to(torch.promote_types(x.dtype, torch.float32))

        with to.mode, torch.no_grad():
            fakes = [to.mode.from_tensor(t, static_shapes=True) for t in tables.values()]
            traced = make_fx(formula, decomposition_table=ELEMENTARY, tracing_mode="real")(
                x.meta["val"], *fakes
            )
        traced.graph.eliminate_dead_code()
        inputs = [n for n in traced.graph.nodes if n.op == "placeholder"]
        copies: dict[fx.Node, fx.Node] = {inputs[0]: x}
        for key, placeholder in zip(tables, inputs[1:], strict=True):
            if not placeholder.users:
                copies[placeholder] = x
                continue
            own = (float(order) if key in ("series", "next", "ratio") else 0.0, key)
            if own not in written:
                written[own] = to.tensor(tables[key])
            copies[placeholder] = written[own]
        with to.graph.inserting_before(node):
            out = to.graph.graph_copy(traced.graph, copies)
        assert isinstance(out, fx.Node)
        node.replace_all_uses_with(out)
        to.graph.erase_node(node)
    program.graph_module.recompile()
