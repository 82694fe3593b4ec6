"""Calls of the public ops, from their declarations."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from flowkernels.ops import reference
from flowkernels.ops._declaration import PUBLIC, PublicOp
from tests.ops.derived import options_of

from . import values
from .call import Call, mapped, replaced, tensors_of

# Ops whose first arguments may have any magnitude.
SCALABLE = {"affine_coupling", "affine_coupling_split", "stereographic", "stereographic_inverse",
            "log_det_diagonal", "log_det_triangular", "slerp"}  # fmt: skip
SPHERICAL = {"stereographic_inverse", "vmf_log_prob", "vmf_sample", "tangent_normal"}


def _fraction(rng: random.Random, arguments: dict[str, Any]) -> Any:
    a = arguments["a"]
    dtype = torch.promote_types(a.dtype, torch.float32)
    shape = rng.choice((None, (), (1,), (3,), (*a.shape[:-1], 2), (*a.shape[:-1], 1)))
    if shape is None:
        return rng.choice((0, 1, 0.0, 1.0, 0.5, 0.3, -0.7, 1.9))
    return torch.rand(shape, dtype=dtype) * 1.4 - 0.2


# Legal values of the options that no list enumerates.
OPTIONS: dict[str, Callable[[random.Random, dict[str, Any]], Any]] = {
    "bound": lambda rng, a: rng.choice((0.1, 0.5, 1, 2.0, 5.0, 30)),
    "gain": lambda rng, a: rng.choice((0.1, 0.9, 1, 1.7)),
    "negative_slope": lambda rng, a: rng.choice((0.01, 0.3, 1)),
    "dim": lambda rng, a: rng.choice((2, 3, 4, 5, 17, 64, 785, 3073, 100003)),
    "event_ndim": lambda rng, a: rng.randint(0, a["diag"].ndim),
    "coupled": lambda rng, a: rng.randint(0, a["x"].shape[1]),
    "sample_shape": lambda rng, a: rng.choice(((), (1,), (3,), (0,), (2, 2), [2])),
    "t": _fraction,
    "v": lambda rng, a: rng.choice((0.5, 1, 1.0, 1.5, 2, 3.7, 50, 391.5, 1e4)),
    "relative": lambda rng, a: rng.random() < 0.5,
    "seed": lambda rng, a: torch.tensor(rng.randrange(2**62)),
    "generator": lambda rng, a: rng.choice((None, torch.Generator().manual_seed(1))),
}


def _plain(rng: random.Random, op: PublicOp) -> tuple[dict[str, Any], int]:
    """Arguments as the declaration has them, with options of any legal value."""
    while True:
        size = values.size(rng, op.inputs.sizes)
        if size[-1] < 2 and op.name in SPHERICAL:
            continue  # a sphere has two dimensions
        try:
            tensors = op.inputs.tensors(size)
            break
        except (RuntimeError, ValueError, IndexError, ZeroDivisionError):
            continue  # a size that the declaration's inputs cannot have
    arguments = op.inputs.arguments(tensors)
    options = op.inputs.options(size)
    signature = inspect.signature(op.function)
    bound = signature.bind(*op.inputs.before, *arguments, **options).arguments
    positional = sum(
        p.kind is p.POSITIONAL_OR_KEYWORD and name in bound and name not in options
        for name, p in signature.parameters.items()
    )
    chosen = {name: rng.choice(listed) for name, listed in options_of(op).items()}
    if op.name != "identity_split":  # of the others, sizes follow from these
        halves = rng.choice(("first", "second", "odd"))
        of_sizes = {"transform": halves, "boundary": "linear", "residual": False}
        chosen |= {name: v for name, v in of_sizes.items() if name in signature.parameters}
    out = dict(bound)
    for name in signature.parameters:
        if name in chosen and rng.random() < 0.7:
            out[name] = chosen[name]
        elif name == "dim" and "reduction" in signature.parameters:
            _move_channels(rng, out)
        elif name in OPTIONS and (name in out or rng.random() < 0.5):
            out[name] = OPTIONS[name](rng, out)
    if op.name == "identity_split" and out.get("transform") in ("even", "odd"):
        out["coupled"] = (out["x"].shape[1] + (out["transform"] == "even")) // 2
    if "grad_log_det" in out and out.get("reduction") == "none":
        x, params = out["x"], out["params"]
        out["grad_log_det"] = torch.randn(x.shape[0], params.shape[1] // 2, *x.shape[2:]).to(x)
    return out, positional


def _move_channels(rng: random.Random, arguments: dict[str, Any]) -> None:
    """Channels along any dimension but the first."""
    if rng.random() < 0.5:
        return
    ndim = arguments["x"].ndim
    place = rng.randrange(1, ndim)
    for name in ("x", "params"):
        arguments[name] = arguments[name].movedim(1, place).contiguous()
    arguments["dim"] = place - rng.choice((0, ndim))


def _definition(op: PublicOp) -> Callable[..., Any] | None:
    """The oracle of an op that has one."""
    found = getattr(reference, op.name, None)
    return found if inspect.isfunction(found) else None


def make(rng: random.Random) -> Call:
    """A call of a public op: legal in nine of twenty cases."""
    op = PUBLIC[rng.choice(sorted(PUBLIC))]
    arguments, positional = _plain(rng, op)
    definition = _definition(op)
    call = Call(op.name, op.function, arguments, reference=definition, positional=positional)
    call.accurate = definition is not None
    dtype = rng.choice(values.FLOATING)
    call.arguments = mapped(arguments, lambda t: t.to(dtype) if t.is_floating_point() else t)
    if "grad_log_det" in arguments:  # at least float32, as what it is a gradient of
        call.arguments["grad_log_det"] = arguments["grad_log_det"].to(
            torch.promote_types(dtype, torch.float32)
        )
    _bound_series(rng, op, call)
    _scale(rng, op, call)
    _empty(rng, call)
    call.plain = dict(call.arguments)
    _know_rounding(op, call)
    if rng.random() < 0.3:
        _special(rng, call)
    for name, place, tensor in list(tensors_of(call.arguments)):
        how, laid = values.lay_out(rng, tensor)
        if how != "as it is":
            call.changes.append(f"{name}: {how}")
            call.arguments = replaced(call.arguments, name, place, laid)
    if rng.random() < 0.5:
        _spoil(rng, call)
    _want_gradients(rng, call)
    return call


def _bound_series(rng: random.Random, op: PublicOp, call: Call) -> None:
    """Arguments for which the oracle's series are short; others are not compared with it."""
    name = {"bessel": "x", "vmf": "kappa"}.get(op.family)
    name = "concentration" if "concentration" in call.arguments else name
    if op.name == "vmf_concentration":
        call.arguments["r"] = call.arguments["r"].clamp(max=0.6).reshape(-1)[:12]
        call.arguments["dim"] = min(call.arguments["dim"], 64)
        return
    if name not in call.arguments:
        return
    if rng.random() < 0.2:
        call.accurate = False
        return
    bounded = call.arguments[name].clamp(max=rng.choice((1.0, 30.0, 100.0)))
    call.arguments[name] = bounded.reshape(-1)[:60] if bounded.numel() > 60 else bounded


def _scale(rng: random.Random, op: PublicOp, call: Call) -> None:
    if op.name not in SCALABLE or rng.random() > 0.3:
        return
    name, place, tensor = next(iter(tensors_of(call.arguments)))
    narrow = tensor.dtype == torch.float16
    factor = 10.0 ** rng.uniform(-3 if narrow else -12, 3 if narrow else 12)
    call.arguments = replaced(call.arguments, name, place, tensor * factor)
    call.changes.append(f"{name}: times {factor:.1e}")


def _empty(rng: random.Random, call: Call) -> None:
    """No entries in the batch, where all tensors have as many."""
    first = next((t for _, _, t in tensors_of(call.arguments)), None)
    if rng.random() > 0.04 or first is None or first.ndim < 2:
        return
    rows = first.shape[0]
    if "loc" in call.arguments or any(
        t.ndim < first.ndim - 1 for _, _, t in tensors_of(call.arguments) if t.ndim
    ):
        return
    if any(isinstance(v, list) for v in call.arguments.values()):
        call.arguments = replaced(call.arguments, *_first_name(call), first[:0])
    else:
        call.arguments = mapped(
            call.arguments, lambda t: t[:0] if t.ndim and t.shape[0] == rows else t
        )
    call.changes.append("empty")


def _know_rounding(op: PublicOp, call: Call) -> None:
    """What rounding inside an op does to outputs that are smaller than their terms."""
    if op.name == "slerp":
        call.terms = 1.0
        a, b = (torch.nn.functional.normalize(call.arguments[n].double(), dim=-1) for n in "ab")
        if a.shape[-1] > 1 and bool(((a + b).norm(dim=-1) < 1e-3).any()):
            call.accurate = False  # the definition has no arc between opposite directions
    elif op.family.startswith("affine_coupling"):
        first = next(t for _, _, t in tensors_of(call.arguments))
        count = first[0].numel() if first.ndim and len(first) else 0
        call.terms = count * float(call.arguments.get("bound", 2.0))
    if op.inputs.sizes == "networks" and any(
        t.dtype in (torch.bfloat16, torch.float16) for _, _, t in tensors_of(call.arguments)
    ):
        call.accurate = False  # layers round to half precision, and ReLUs may fall either way


def _first_name(call: Call) -> tuple[str, int | None]:
    name, place, _ = next(iter(tensors_of(call.arguments)))
    return name, place


def _special(rng: random.Random, call: Call) -> None:
    """Special values: in one entry of the batch of the first tensor, or anywhere."""
    found = list(tensors_of(call.arguments))
    name, place, tensor = rng.choice(found) if found else ("", None, torch.empty(0))
    if not tensor.is_floating_point() or not tensor.numel():
        return
    call.legal = False  # an op may refuse them
    if name == found[0][0] and tensor.ndim > 1 and place is None:
        row = rng.randrange(tensor.shape[0])
        changed = tensor.clone()
        changed[row] = values.with_special(rng, tensor[row])
        call.odd_row, call.rows = row, tensor.shape[0]
    else:
        changed = values.with_special(rng, tensor)
        call.accurate = False
    call.arguments = replaced(call.arguments, name, place, changed)
    call.changes.append(f"{name}: special values")


def _spoil(rng: random.Random, call: Call) -> None:
    """Something that the op should refuse, or might."""
    call.legal = call.accurate = False
    found = list(tensors_of(call.arguments))
    for _ in range(rng.choice((1, 1, 1, 2))):
        kind = rng.choice(("shape", "shape", "tensor", "dtype", "value", "value", "option"))
        if kind in ("value", "option") or not found:
            names = [n for n in call.arguments if kind == "value" or n not in {f[0] for f in found}]
            name = rng.choice(names or list(call.arguments))
            shown, value = values.wrong_value(rng)
            call.arguments = replaced(call.arguments, name, None, value)
            call.changes.append(f"{name}: {shown}")
            found = list(tensors_of(call.arguments))
            continue
        name, place, tensor = rng.choice(found)
        if kind == "shape":
            made: Any = values.other_shape(rng, tensor)
        elif kind == "dtype":
            made = tensor.to(rng.choice(values.FLOATING)) if tensor.is_floating_point() else tensor
        else:
            kind, made = values.wrong_tensor(rng, tensor)
        call.arguments = replaced(call.arguments, name, place, made)
        call.changes.append(f"{name}: {kind}")
        found = [f for f in tensors_of(call.arguments) if f[2].layout == torch.strided
                 and f[2].device.type == "cpu" and not f[2].is_quantized]  # fmt: skip


def _want_gradients(rng: random.Random, call: Call) -> None:
    def leaf(t: Tensor) -> Tensor:
        if rng.random() < 0.4 and t.dtype in values.FLOATING and not t.requires_grad:
            return t.detach().requires_grad_()
        return t

    call.arguments = mapped(call.arguments, leaf)
