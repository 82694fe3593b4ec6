"""The coupling blocks of FrEIA (https://github.com/vislearn/FrEIA, 0.2 and newer).

Served are NICE, RNVP, GLOW and GIN blocks, `AffineCouplingOneSided`, `ConditionalAffineTransform`
and `AllInOneBlock`, of vectors and images, with any subnetworks, conditions and split, where the
clamp is one of FrEIA's three.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkernels import ops

from .couplings import Coupling, Split
from .networks import Network, recognise
from .replacement import DEFER, Replacement
from .scales import Scale, clamp_of
from .watch import Watch

__all__ = ["REPLACEMENTS"]

_CLAMP = "a clamp that is not known"
_LAYOUT = {"layout": "scale_shift"}
_NO_CONDITIONS: Sequence[Tensor] = ()


# ---- blocks of two couplings, or one ---------------------------------------------------------


class _Net(NamedTuple):
    """Subnetworks side by side, s and t of RNVP, or a single one."""

    modules: tuple[Any, ...]
    networks: tuple[Network | None, ...]

    @classmethod
    def of(cls, modules: Sequence[Any], watch: Watch) -> _Net:
        networks = []
        for module in modules:
            network, of_network = recognise(module)
            watch.include(of_network)
            networks.append(network)
        return cls(tuple(modules), tuple(networks))

    def __call__(self, x: Tensor) -> Tensor:
        parts = [
            (module if network is None else network)(x)
            for module, network in zip(self.modules, self.networks, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


class _Side(NamedTuple):
    """A coupling of one part of the channels."""

    coupling: Coupling
    net: _Net

    def conditioned(self, c: Sequence[Tensor]) -> Any:
        """The network of the kept channels and conditions; None if the op for layers has it."""
        if c:
            return lambda kept: self.net(torch.cat([kept, *c], 1))
        return None if self.coupling.network is not None else self.net


class _Block(NamedTuple):
    """A block: its couplings in forward order."""

    sides: tuple[_Side, ...]


_ATTRIBUTES = ("channels", "ndims", "split_len1", "split_len2", "clamp", "conditional", "f_clamp")


def _sides(
    module: Any, watch: Watch, options: dict[str, Any], first: Sequence[str], second: Sequence[str]
) -> _Block | str:
    """With the names of the subnetworks that change the first and the second part."""
    watch.members(module)
    watch.attributes(module, _ATTRIBUTES)
    if not module.split_len1 or not module.split_len2:
        return "no channels on one side"
    parts = torch.arange(module.channels).split([module.split_len1, module.split_len2])
    sides = []
    for names, (coupled, kept) in ((first, parts), (second, parts[::-1])):
        if names:
            net = _Net.of([getattr(module, name) for name in names], watch)
            network = net.networks[0] if len(names) == 1 else None
            sides.append(_Side(Coupling(network, Split(kept, coupled), options), net))
    return _Block(tuple(sides))


def _decide_affine(first: Sequence[str], second: Sequence[str]) -> Any:
    def decide(module: Any, watch: Watch) -> _Block | str:
        scale = clamp_of(module.f_clamp, module.clamp)
        if scale is None:
            watch.members(module)
            watch.attributes(module, _ATTRIBUTES)
            return _CLAMP
        return _sides(module, watch, scale.options() | _LAYOUT, first, second)

    return decide


def _decide_additive(module: Any, watch: Watch) -> _Block | str:
    return _sides(module, watch, {}, ("F",), ("G",))


def _decide_gin(module: Any, watch: Watch) -> _Block | str:
    options = Scale("exp").options() | _LAYOUT
    return _sides(module, watch, options, ("subnet2",), ("subnet1",))


def _conditions(module: Any, c: Sequence[Tensor] | None) -> Sequence[Tensor]:
    return c if module.conditional and c is not None else _NO_CONDITIONS


# Of one coupling: (module, side, y, conditions, inverse) -> (y, log_det).
_Step = Callable[[Any, _Side, Tensor, Sequence[Tensor], bool], tuple[Tensor, Any]]


def _serve(step: _Step) -> Any:
    """The couplings of a block one after the other, in reverse for the inverse."""

    def serve(
        plan: _Block, module: Any, x: Any, c: Any = _NO_CONDITIONS, rev: bool = False,
        jac: bool = True,
    ) -> Any:  # fmt: skip
        y, c = x[0], _conditions(module, c)
        if y.shape[1] != module.channels:
            return DEFER
        total = None
        for side in reversed(plan.sides) if rev else plan.sides:
            y, log_det = step(module, side, y, c, bool(rev))
            total = log_det if total is None else total + log_det
        return (y,), total

    return serve


def _affine(
    module: Any, side: _Side, y: Tensor, c: Sequence[Tensor], inverse: bool
) -> tuple[Tensor, Any]:
    return side.coupling.affine(y, side.conditioned(c), inverse)


def _additive(
    module: Any, side: _Side, y: Tensor, c: Sequence[Tensor], inverse: bool
) -> tuple[Tensor, Any]:
    return side.coupling.additive(y, side.conditioned(c), inverse), 0.0


def _gin(
    module: Any, side: _Side, y: Tensor, c: Sequence[Tensor], inverse: bool
) -> tuple[Tensor, Any]:
    def params(kept: Tensor) -> Tensor:
        raw, t = side.net(torch.cat([kept, *c], 1) if c else kept).chunk(2, 1)
        s = module.clamp * module.f_clamp(raw)
        return torch.cat([s - s.mean(1, keepdim=True), t], 1)

    return side.coupling.affine(y, params, inverse)[0], 0.0


# ---- ConditionalAffineTransform --------------------------------------------------------------


class _Conditional(NamedTuple):
    """All channels, by parameters of the condition."""

    net: _Net
    options: dict[str, Any]


def _decide_conditional(module: Any, watch: Watch) -> _Conditional | str:
    watch.members(module)
    watch.attributes(module, _ATTRIBUTES)
    scale = clamp_of(module.f_clamp, module.clamp)
    if scale is None:
        return _CLAMP
    return _Conditional(_Net.of([module.subnet], watch), scale.options() | _LAYOUT)


def _serve_conditional(
    plan: _Conditional, module: Any, x: Any, c: Any = _NO_CONDITIONS, rev: bool = False,
    jac: bool = True,
) -> Any:  # fmt: skip
    params = plan.net(torch.cat(tuple(c), 1) if len(c) > 1 else c[0])
    y, log_det = ops.affine_coupling(x[0], params, inverse=bool(rev), **plan.options)
    return (y,), log_det


# ---- AllInOneBlock ---------------------------------------------------------------------------

# Up to this many channels a product with a matrix is faster than indices and their gradient.
_FEW = 128
_ALL_IN_ONE = (
    "in_channels", "input_rank", "splits", "clamp", "GIN", "householder", "reverse_pre_permute",
    "conditional", "dims_in",
)  # fmt: skip


def _decide_all(module: Any, watch: Watch) -> _Side | str:
    watch.members(module)
    watch.attributes(module, _ALL_IN_ONE)
    if module.GIN:
        return "a GIN block"
    scale = _all_scale(module)
    if scale is None:
        return _CLAMP
    kept, coupled = torch.arange(sum(module.splits)).split(list(module.splits))
    if not len(kept) or not len(coupled):
        return "no channels on one side"
    net = _Net.of([module.subnet], watch)
    options = scale.options() | _LAYOUT
    return _Side(Coupling(net.networks[0], Split(kept, coupled), options), net)


def _all_scale(module: Any) -> Scale | None:
    """c tanh(a) in 0.2, c tanh(a / c) later, by what the method computes; a = 0.1 times output."""
    clamp = float(module.clamp)
    if not clamp > 0:
        return None
    a = torch.linspace(-3, 3, 7, dtype=torch.float64)
    shape = (7, 1, *[1] * module.input_rank)
    raw = torch.stack([10 * a, torch.zeros_like(a)], 1).reshape(7, 2, *shape[2:])
    with torch.no_grad():
        scales = module._affine(torch.ones(shape, dtype=torch.float64), raw)[0].flatten()
    for gain in (clamp, 1.0):
        if torch.allclose(scales.log(), clamp * torch.tanh(gain * a / clamp), rtol=1e-10):
            return Scale("tanh", clamp, gain)
    return None


def _serve_all(
    plan: _Side, module: Any, x: Any, c: Any = _NO_CONDITIONS, rev: bool = False, jac: bool = True
) -> Any:
    y, c = x[0], _conditions(module, c)
    if tuple(y.shape[1:]) != tuple(module.dims_in[0]):
        return DEFER
    if module.householder:
        module.w_perm = module._construct_householder_permutation()
        if rev or module.reverse_pre_permute:
            module.w_perm_inv = module.w_perm.transpose(0, 1).contiguous()
    if rev:
        y, of_scale = _permuted(module, y, True)
    elif module.reverse_pre_permute:
        y = module._pre_permute(y, rev=False)
    y, log_det = _tenth(plan, y, c, bool(rev))
    if not rev:
        y, of_scale = _permuted(module, y, False)
    elif module.reverse_pre_permute:
        y = module._pre_permute(y, rev=True)
    if y.ndim > 2:
        of_scale = math.prod(y.shape[2:]) * of_scale
    return (y,), log_det - of_scale if rev else log_det + of_scale


def _permuted(module: Any, x: Tensor, inverse: bool) -> tuple[Tensor, Any]:
    """Permutation and global scale as one linear map, of vectors, and the log-det of the scale."""
    matrix = module.w_perm_inv if inverse else module.w_perm
    if x.ndim != 2 or (matrix.ndim == 1 and len(matrix) > _FEW):
        out: tuple[Tensor, Any] = module._permute(x, rev=inverse)
        return out
    if matrix.ndim == 1:
        eye = torch.eye(len(matrix), dtype=module.global_scale.dtype, device=x.device)
        matrix = eye.index_select(0, matrix)
    scale = module.global_scale_activation(module.global_scale)
    offset = module.global_offset
    if inverse:
        y = F.linear(x, matrix / scale.T, (-offset / scale)[0])
    else:
        y = F.linear(x, matrix * scale, F.linear(offset, matrix)[0])
    return y, scale.log().sum()


def _tenth(
    plan: _Side, x: Tensor, c: Sequence[Tensor], inverse: bool
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The coupling by a tenth of what the subnetwork returns."""
    coupling, network = plan.coupling, plan.coupling.network
    if network is None or c or x.ndim != 2:

        def net(kept: Tensor) -> Tensor:
            return plan.net(torch.cat([kept, *c], 1) if c else kept) * 0.1

        return coupling.affine(x, net, inverse)
    weights, biases = network.weights(), network.biases()
    weights[-1], biases[-1] = weights[-1] * 0.1, biases[-1] * 0.1
    return ops.affine_coupling_mlp(x, weights, biases, inverse=inverse, **coupling.whole)


_BLOCKS = "FrEIA.modules.coupling_layers"
_TWO = ("_coupling1", "_coupling2")

REPLACEMENTS = [
    Replacement(
        "FrEIA", f"{_BLOCKS}:NICECouplingBlock", _decide_additive, {"forward": _serve(_additive)},
        _TWO,
    ),
    Replacement(
        "FrEIA", f"{_BLOCKS}:RNVPCouplingBlock",
        _decide_affine(("subnet_s2", "subnet_t2"), ("subnet_s1", "subnet_t1")),
        {"forward": _serve(_affine)}, _TWO,
    ),
    Replacement(
        "FrEIA", f"{_BLOCKS}:GLOWCouplingBlock", _decide_affine(("subnet2",), ("subnet1",)),
        {"forward": _serve(_affine)}, _TWO,
    ),
    Replacement(
        "FrEIA", f"{_BLOCKS}:GINCouplingBlock", _decide_gin, {"forward": _serve(_gin)}, _TWO
    ),
    Replacement(
        "FrEIA", f"{_BLOCKS}:AffineCouplingOneSided", _decide_affine((), ("subnet",)),
        {"forward": _serve(_affine)},
    ),
    Replacement(
        "FrEIA", f"{_BLOCKS}:ConditionalAffineTransform", _decide_conditional,
        {"forward": _serve_conditional},
    ),
    Replacement(
        "FrEIA", "FrEIA.modules.all_in_one_block:AllInOneBlock", _decide_all,
        {"forward": _serve_all}, ("_affine", "_permute"),
    ),
]  # fmt: skip
