"""The flow layers of zuko (https://github.com/probabilists/zuko, 1.4 and newer).

Served are `GeneralCouplingTransform` and `MaskedAutoregressiveTransform` (so also `NICE`,
`RealNVP`, `MAF` and `NSF`), where their univariate transform is `MonotonicAffineTransform` or
`MonotonicRQSTransform`. Their `forward` returns subclasses of zuko's own transforms, which evaluate
network, map and log-det in one call. Other univariate transforms run zuko's code.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Transform, constraints

from flowkernels import ops

from .autoregressive import AffineNetwork, Autoregressive, SplineNetwork
from .couplings import Coupling, Split, spline_problem
from .networks import recognise
from .replacement import Replacement
from .watch import Watch

__all__ = ["REPLACEMENTS"]

_UNIVARIATE = "a univariate transform that is not known"


class _Map(NamedTuple):
    """A univariate transform as an op's options."""

    spline: bool
    options: dict[str, Any]


def _map(module: Any) -> _Map | str:
    from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

    univariate: Any = module.univariate
    given: dict[str, Any] = {}
    if type(univariate) is functools.partial and not univariate.args:
        univariate, given = univariate.func, dict(univariate.keywords)
    shapes = [tuple(shape) for shape in module.shapes]
    slope = given.pop("slope", 1e-3)
    if not isinstance(slope, float) or not 0 < slope < 1:
        return "a slope outside (0, 1)"
    if univariate is MonotonicAffineTransform and not given and shapes == [(), ()]:
        options = {"scale_fn": "softclip", "bound": -math.log(slope), "layout": "interleaved"}
        return _Map(False, options)
    bound = given.pop("bound", 5.0)
    if univariate is not MonotonicRQSTransform or given or len(shapes) != 3:
        return _UNIVARIATE
    bins = shapes[0][0] if len(shapes[0]) == 1 else 0
    if shapes != [(bins,), (bins,), (bins - 1,)]:
        return _UNIVARIATE
    problem = spline_problem(bins, bound, 0, 0, slope)
    if problem is not None:
        return problem
    return _Map(
        True,
        {"bins": bins, "bound": float(bound), "min_derivative": slope, "convention": "zuko"},
    )


def _watch(module: Any, watch: Watch) -> None:
    watch.members(module)
    watch.attributes(module, ("univariate", "shapes", "total", "passes"))


# ---- couplings ------------------------------------------------------------------------------


class _Coupling(NamedTuple):
    layer: Coupling
    run: Callable[[Tensor, Any, bool], tuple[Tensor, Tensor]]


def _decide_coupling(module: Any, watch: Watch) -> _Coupling | str:
    _watch(module, watch)
    found = _map(module)
    if isinstance(found, str):
        return found
    watch.buffer(module, "mask")
    mask = module.mask
    split = Split(mask.nonzero().squeeze(-1), (~mask).nonzero().squeeze(-1))
    layer = Coupling.of(module.hyper, split, found.options, watch)
    return _Coupling(layer, layer.spline if found.spline else layer.affine)


def _couple(plan: _Coupling, module: Any, c: Tensor | None = None) -> Any:
    return _transforms().coupling(module, c, plan)


def _rows(x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """(rows, features) and the same of a context."""
    if c is not None:
        c = c.expand(*x.shape[:-1], c.shape[-1])
        c = c if c.ndim == 2 else c.reshape(-1, c.shape[-1])
    return (x if x.ndim == 2 else x.reshape(-1, x.shape[-1])), c


# ---- autoregressive -------------------------------------------------------------------------


def _decide_autoregressive(module: Any, watch: Watch) -> Autoregressive | str:
    _watch(module, watch)
    found = _map(module)
    if isinstance(found, str):
        return found
    network, of_network = recognise(module.hyper)
    watch.include(of_network)
    features = module.hyper.out_features // module.total
    kind = SplineNetwork if found.spline else AffineNetwork
    plan = kind(network, found.options, features, module.hyper.in_features - features)
    if module.passes != features:
        plan.degrees = None  # zuko's few passes, which `iterate` does
    return plan


def _regress(plan: Autoregressive, module: Any, c: Tensor | None = None) -> Any:
    return _transforms().autoregressive(module, c, plan)


# ---- the transforms that forward returns ----------------------------------------------------


class _Transforms(NamedTuple):
    coupling: type
    autoregressive: type


@functools.cache
def _transforms() -> _Transforms:
    """Subclasses of zuko's, which need the library."""
    from torch.distributions.transforms import _InverseTransform
    from zuko.transforms import AutoregressiveTransform, CouplingTransform

    class Inverse(_InverseTransform):
        """The inverse, with its log-det from the same call."""

        def call_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
            forward: Any = self._inv
            out: tuple[Tensor, Tensor] = forward.inverse_and_ladj(y)
            return out

    Inverse.__name__ = "Inverse"

    class Whole(Transform):
        """A layer that knows its module and context; subclasses define `_run`."""

        def __init__(self, module: Any, c: Tensor | None, plan: Any) -> None:
            Transform.__init__(self)
            self._module, self._c, self._plan = module, c, plan

        @property
        def meta(self) -> Any:
            return functools.partial(self._module.meta, self._c)

        @property
        def inv(self) -> Transform:
            return Inverse(self)

        def _run(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
            raise NotImplementedError

        def _shaped(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
            y, ladj = self._run(x, inverse)
            if x.ndim == 2:
                return y, ladj
            return y.reshape(x.shape), ladj.reshape(x.shape[:-1])

        def _call(self, x: Tensor) -> Tensor:
            return self._shaped(x, False)[0]

        def _inverse(self, y: Tensor) -> Tensor:
            return self._shaped(y, True)[0]

        def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
            return self._shaped(x, False)[1]

        def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self._shaped(x, False)

        def inverse_and_ladj(self, y: Tensor) -> tuple[Tensor, Tensor]:
            return self._shaped(y, True)

    class Coupled(Whole, CouplingTransform):  # type: ignore[misc]
        """A coupling."""

        @property
        def idx_a(self) -> Tensor:
            return self._module.mask.nonzero().squeeze(-1)

        @property
        def idx_b(self) -> Tensor:
            return (~self._module.mask).nonzero().squeeze(-1)

        def _run(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
            plan, module = self._plan, self._module
            x, c = _rows(x, self._c)
            net = None
            if c is not None:
                layers = plan.layer.network or module.hyper
                net = lambda kept: layers(torch.cat([kept, c], 1))  # noqa: E731
            elif plan.layer.network is None:
                net = module.hyper
            out: tuple[Tensor, Tensor] = plan.run(x, net, inverse)
            return out

    class Regressed(Whole, AutoregressiveTransform):  # type: ignore[misc]
        """An autoregressive map."""

        @property
        def passes(self) -> int:
            passes: int = self._module.passes
            return passes

        def _run(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
            plan, module = self._plan, self._module
            x, c = _rows(x, self._c)
            if not inverse:
                inputs = x if c is None else torch.cat([x, c], 1)
                params = (plan.network or module.hyper)(inputs)
                out: tuple[Tensor, Tensor] = plan.map(x, params, False)
            elif plan.degrees is not None:
                out = plan.solve(x, c)
            elif plan.network is not None:
                out = plan.iterate(x, self.passes, c)
            else:
                out = self._passes(x, c)
            return out

        def _passes(self, z: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
            """By zuko's network, which is not known here."""
            x = torch.zeros_like(z)
            for _ in range(self.passes):
                inputs = x if c is None else torch.cat([x, c], 1)
                x, ladj = self._plan.map(z, self._module.hyper(inputs), True)
            return x, ladj

    for kind, name in ((Coupled, "CouplingTransform"), (Regressed, "AutoregressiveTransform")):
        kind.__name__ = kind.__qualname__ = name
    return _Transforms(Coupled, Regressed)


# ---- while compiling: zuko's layer, its splines by our op ------------------------------------


def _compiled(module: Any, c: Tensor | None = None) -> Any:
    from zuko.transforms import AutoregressiveTransform, CouplingTransform

    found = _map(module)
    if isinstance(found, str) or not found.spline:
        return _UNIVARIATE
    meta = functools.partial(_spline_meta, module, found.options, c)
    if hasattr(module, "mask"):
        return CouplingTransform(meta, module.mask)
    return AutoregressiveTransform(meta, module.passes)


def _spline_meta(module: Any, options: dict[str, Any], c: Tensor | None, x: Tensor) -> Any:
    if c is not None:
        batch = torch.broadcast_shapes(x.shape[:-1], c.shape[:-1])
        x = torch.cat([x.expand(*batch, -1), c.expand(*batch, -1)], -1)
    return _Splines(module.hyper(x), options)


class _Splines(Transform):
    """Splines of all features, given the network's output (*batch, D (3 K - 1))."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, params: Tensor, options: dict[str, Any]) -> None:
        super().__init__()
        self._params, self._options = params, options

    def _run(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        params = self._params.expand(*x.shape[:-1], self._params.shape[-1])
        y, ladj = ops.rational_quadratic_spline(
            x.reshape(-1, x.shape[-1]), params.reshape(-1, params.shape[-1]),
            inverse=inverse, **self._options,
        )  # fmt: skip
        return y.reshape(x.shape), ladj.reshape(x.shape[:-1])

    def _call(self, x: Tensor) -> Tensor:
        return self._run(x, False)[0]

    def _inverse(self, y: Tensor) -> Tensor:
        return self._run(y, True)[0]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return self._run(x, False)[1]

    def call_and_ladj(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._run(x, False)


REPLACEMENTS = [
    Replacement(
        "zuko", "zuko.flows.coupling:GeneralCouplingTransform", _decide_coupling,
        {"forward": _couple}, ("meta",), {"forward": _compiled},
    ),
    Replacement(
        "zuko", "zuko.flows.autoregressive:MaskedAutoregressiveTransform", _decide_autoregressive,
        {"forward": _regress}, ("meta",), {"forward": _compiled},
    ),
]  # fmt: skip
