"""What a call must do: work and be right, or say what is wrong with which argument."""

from __future__ import annotations

import random
import re
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.ops.case import ULPS

from .call import Call, mapped, tensors_of

PROPER = (TypeError, ValueError, NotImplementedError)
FOREIGN = ("INTERNAL ASSERT", "incompatible function arguments", "Could not run", "aten::",
           "please report a bug", "Please report a bug")  # fmt: skip
# How much more than a perturbation of the inputs by one rounding may change a result.
ROUNDINGS = 8.0
# Ops for which only the direction of their arguments counts.
DIRECTIONS = {"slerp", "stereographic_inverse"}
# The oracle computes in float64: results in float64 are compared with its own error in mind.
DOUBLE = 32.0


def judge(call: Call, rng: random.Random) -> tuple[str, list[str]]:
    """What happened (refused, worked, compared), and what is wrong about it."""
    before = [
        (name, t, t.detach().clone())
        for name, _, t in tensors_of(call.arguments)
        if t.layout == torch.strided and t.device.type == "cpu" and not t.is_quantized
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = call.run()
        except Exception as error:
            return "refused", _of_error(call, error)
        findings = [f"changed its argument {name}" for name, t, old in before if not _same(t, old)]
        outputs = tuple(t for t in _flat(result) if isinstance(t, Tensor))
        if call.reference is not None and call.target != "identity_split":
            findings += [f"output {i} is not contiguous" for i, t in enumerate(outputs)
                         if t.layout == torch.strided and not t.is_contiguous()]  # fmt: skip
        gradients, weights = None, None
        leaves = [t for _, _, t in tensors_of(call.arguments) if t.requires_grad]
        wanted = [t for t in outputs if t.requires_grad and t.device.type == "cpu"]
        if leaves and wanted:
            weights = [_cotangent(rng, t) for t in wanted]
            try:
                gradients = torch.autograd.grad(
                    wanted, leaves, weights, allow_unused=True, create_graph=rng.random() < 0.2
                )
            except Exception as error:
                return "refused", [*findings, *(f"backward: {f}" for f in _of_error(call, error))]
        if not call.accurate or call.reference is None:
            return "worked", findings
        findings += _compare(call, outputs, gradients, weights)
    return "compared", findings


def _flat(result: Any) -> tuple[Any, ...]:
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _same(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | ((a != a) & (b != b))).all()) if a.numel() else True


def _of_error(call: Call, error: Exception) -> list[str]:
    text = str(error)
    first = text.splitlines()[0][:200] if text else ""
    if call.legal:
        return [f"refused a legal call: {type(error).__name__}: {first}"]
    names = [*call.arguments, *call.named]
    words = ("Expected a value of type", "no tensor arguments", "Meta' backend")
    if call.raw and any(each in text for each in words):
        return []  # the dispatcher's own, for what reaches none of our kernels
    if "allocate memory" in text or "Storage size calculation overflowed" in text:
        return []  # no argument is wrong but for its size
    if any(foreign in text for foreign in FOREIGN):
        return [f"raised another library's message: {type(error).__name__}: {first}"]
    if not isinstance(error, PROPER):
        return [f"raised {type(error).__name__}: {first}"]
    if not any(name in text for name in (call.target, *call.also)):
        return [f"its message does not name it: {type(error).__name__}: {first}"]
    if not any(re.search(rf"(`|\b){re.escape(n.split('.')[-1])}(`|\b)", text) for n in names):
        return [f"its message names no argument: {type(error).__name__}: {first}"]
    return []


def _cotangent(rng: random.Random, t: Tensor) -> Tensor:
    """A gradient like the output, in a layout of its own."""
    g = torch.randn(t.shape, dtype=torch.float64).to(t.dtype)
    kind = rng.choice(("plain", "expanded", "transposed", "gaps"))
    if kind == "expanded":
        return torch.randn((), dtype=torch.float64).to(t.dtype).expand(t.shape)
    if kind == "transposed" and t.ndim > 1:
        return g.transpose(0, -1).contiguous().transpose(0, -1)
    if kind == "gaps" and t.ndim:
        wide = t.new_full((*t.shape, 2), float("nan"))
        wide[..., 0] = g
        return wide[..., 0].detach()
    return g


# ---- the oracle -----------------------------------------------------------------------------


def _definition(call: Call, change: Callable[[Tensor], Tensor]) -> tuple[dict[str, Any], list[Any]]:
    """The oracle's outputs for the arguments without special values, each changed first."""

    def prepare(t: Tensor) -> Tensor:
        return change(t.detach()).double() if t.is_floating_point() else t

    arguments = mapped(call.plain, prepare)
    wants = {(n, p) for n, p, t in tensors_of(call.arguments) if t.requires_grad}
    leaves = []
    for name, place, t in tensors_of(arguments):
        if (name, place) in wants:
            t.requires_grad_()
            leaves.append(t)
    values = list(arguments.items())
    first = [value for _, value in values[: call.positional]]
    assert call.reference is not None
    result = call.reference(*first, **dict(values[call.positional :]))
    return {"outputs": [t for t in _flat(result) if isinstance(t, Tensor)]}, leaves


def _evaluate(
    call: Call, change: Callable[[Tensor], Tensor], count: int, weights: list[Tensor] | None,
    wanted: list[int],
) -> tuple[list[Tensor], list[Tensor | None]]:  # fmt: skip
    found, leaves = _definition(call, change)
    outputs = found["outputs"][:count]
    gradients: list[Tensor | None] = []
    if weights is not None:
        chosen = [(outputs[i], w.double()) for i, w in zip(wanted, weights, strict=True)
                  if outputs[i].requires_grad]  # fmt: skip
        if chosen:
            gradients = list(
                torch.autograd.grad(
                    [o for o, _ in chosen], leaves, [w for _, w in chosen], allow_unused=True
                )
            )
    return [o.detach() for o in outputs], gradients


def _rounding(t: Tensor) -> Tensor:
    """t, each element off by a unit in its last place at random."""
    sign = torch.randint(0, 2, t.shape).double() * 2 - 1
    return t.double() * (1 + sign * torch.finfo(t.dtype).eps)


def _compare(
    call: Call, outputs: tuple[Tensor, ...], gradients: Any, weights: list[Tensor] | None
) -> list[str]:
    wanted = [i for i, t in enumerate(outputs) if t.requires_grad]
    if call.odd_row is not None:
        weights, gradients = None, None  # gradients of shared arguments see the odd row
    count = len(outputs)
    true, true_grads = _evaluate(call, lambda t: t, count, weights, wanted)
    trials = [_evaluate(call, _rounding, count, weights, wanted) for _ in range(2)]
    findings = []
    for i, output in enumerate(outputs):
        moved = [outs[i] for outs, _ in trials]
        wrong = _wrong(call, output.detach(), true[i], moved)
        findings += [f"output {i}: {wrong}"] if wrong else []
    leaves = [n for n, _, t in tensors_of(call.arguments) if t.requires_grad]
    if gradients is not None and true_grads:
        for i, (name, mine) in enumerate(zip(leaves, gradients, strict=True)):
            other = true_grads[i]
            if mine is None or other is None:
                continue
            moved = [g[i] for _, g in trials if g[i] is not None]
            # Gradients that are 0 come out of the oracle as what is left of its terms.
            inputs = [t for n, _, t in tensors_of(call.plain) if n == name]
            floor = _largest(weights or [], 0.0) / _largest(inputs, 1.0)
            if call.target in DIRECTIONS and mine.numel():
                # Of a / |a|: the rounding of one part of G is as large as G / |a|.
                eps = torch.finfo(torch.promote_types(mine.dtype, torch.float32)).eps
                least = min(float(t.detach().double().norm(dim=-1).min()) for t in inputs)
                floor = _largest(weights or [], 0.0) / max(least, 1e-300)
                floor *= eps / torch.finfo(torch.float64).eps
            wrong = _wrong(call, mine.detach(), other, moved, floor)
            findings += [f"gradient of {name}: {wrong}"] if wrong else []
    return findings


def _largest(tensors: list[Tensor], least: float) -> float:
    return max([least, *(float(t.detach().abs().max()) for t in tensors if t.numel())])


def _wrong(
    call: Call, mine: Tensor, true: Tensor, moved: list[Any], floor: float | None = None
) -> str:
    """The worst element, where it is off by more than rounding may make it.

    An output's errors are relative to its row; a gradient's (`floor`) to the whole of it.
    """
    if mine.shape != true.shape:
        return f"has shape {list(mine.shape)}, not {list(true.shape)}"
    if not mine.numel():
        return ""
    info = torch.finfo(mine.dtype)
    error = (mine.double() - true).abs()
    if call.terms and floor is None:  # what is rounded is the terms of a sum
        # In the op and, of float64, in the oracle.
        error = (error - 2 * call.terms * torch.finfo(mine.dtype).eps).clamp_min(0)
    response = torch.stack([(m - true).abs() for m in moved]).amax(0)
    finite = true.isfinite() & response.isfinite() & (true.abs() < info.max / 2)
    if call.odd_row is not None:
        if not true.ndim or true.shape[0] != call.rows:
            return ""  # a sum over the odd entry, too
        finite[call.odd_row] = False
    size = true.abs().where(finite, torch.zeros_like(true))
    if floor is not None:
        size = size.amax().expand(size.shape)
    elif size.ndim > 1:
        size = size.flatten(1).amax(1).view(-1, *[1] * (size.ndim - 1)).expand(size.shape)
    factor = DOUBLE if mine.dtype == torch.float64 else 1.0
    allowed = factor * (ULPS[mine.dtype] * info.eps * size + ROUNDINGS * response) + 4 * info.tiny
    allowed = allowed + 64 * torch.finfo(torch.float64).eps * (floor or 0.0)
    bad = finite & ~(error <= allowed)
    if not bad.any():
        return ""
    excess = (error / allowed).where(bad, torch.zeros_like(error)).nan_to_num(1e300, 1e300)
    worst = int(excess.argmax())
    at = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), true.shape))
    return (
        f"{int(bad.sum())} of {bad.numel()} elements wrong, at {at} "
        f"{mine.flatten()[worst].item():.9g} instead of {true.flatten()[worst].item():.9g} "
        f"(allowed {allowed.flatten()[worst].item():.1e})"
    )
