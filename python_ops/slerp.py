"""Spherical linear interpolation that is exact at every angle."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from ._backends import FORCED
from ._broadcast import common_batch, numbers
from ._declaration import Inputs, declare, public
from ._errors import SUPPORTED, check_floating
from ._fake import require, require_shape
from ._vmap import batched_first
from .composite import slerp as formulas


def _fake(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    require(
        a.ndim > 0 and a.shape[-1] > 0,
        f"`a` must have shape (*batch, D) with D >= 1, got {tuple(a.shape)}",
    )
    if b.dtype != a.dtype:
        raise TypeError(f"`b` must have the dtype of `a` ({a.dtype}), got {b.dtype}")
    require_shape("b", b, a.shape, "`a`")
    batch = a.shape[:-1]
    require(
        t.ndim <= 1 or t.shape[:-1] == batch,
        f"`t` must be a number, 0-d, (T,) or (*batch, T) with batch {tuple(batch)}, got shape "
        f"{tuple(t.shape)}",
    )
    return a.new_empty(a.shape if t.ndim == 0 else (*a.shape[:-1], t.shape[-1], a.shape[-1]))


def _vmap(op: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of slerp (a, b, t) and its backward (grad, a, b, t) under vmap.

    t is given in full, (vmapped, *batch, T): a gradient of its own for each call.
    """

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Tensor) -> Any:
        size = info.batch_size
        *vectors, t = (batched_first(a, d, size) for a, d in zip(args, in_dims, strict=True))
        single, shared = t.ndim == 1, t.ndim <= 2
        if single:
            t = t.unsqueeze(-1)
        batch = vectors[-1].shape[1:-1]
        if shared:
            t = t.reshape(size, *[1] * len(batch), t.shape[-1]).expand(size, *batch, -1)
        if len(vectors) == 2:
            y = op(*vectors, t)
            return (y.squeeze(-2) if single else y), 0
        grad, a, b = vectors
        grad_a, grad_b, grad_t = op(grad.unsqueeze(-2) if single else grad, a, b, t)
        if shared and batch:
            grad_t = grad_t.sum(tuple(range(1, 1 + len(batch))))
        return (grad_a, grad_b, grad_t.squeeze(-1) if single else grad_t), (0, 0, 0)

    return rule


_slerp = declare(
    "slerp",
    formula=formulas.slerp,
    backward_formula=formulas.slerp_backward,
    fake=_fake,
    vmap=_vmap,
    numbers=("t",),
)


def _two_points(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    a, b = torch.nn.functional.normalize(torch.randn(2, *size, dtype=torch.float64), dim=-1)
    return a, b


def _fractions(t: object, a: object) -> Tensor | float:
    """`t` as the op takes it; in eager mode it turns numbers into tensors itself."""
    if not isinstance(a, Tensor):
        return 0.0  # the op says what is wrong
    dtype = torch.promote_types(a.dtype, torch.float32)
    if isinstance(t, Tensor):
        # Of integers; what is of no use the op refuses.
        integers = not t.is_floating_point() and not t.is_complex() and not t.is_quantized
        return t.to(dtype) if integers else t
    if not isinstance(t, Real):
        return numbers("slerp", "t", t, dtype, a.device)
    if torch.compiler.is_compiling() or FORCED == "reference":
        return torch.full((), float(t), dtype=dtype, device=a.device)
    number = float(t)
    if abs(number) > 1e38 and a.dtype in SUPPORTED:
        numbers("slerp", "t", number, dtype)  # says so, if it is beyond the range
    return number


def _in_one_batch(a: Any, b: Any, t: Tensor | float) -> tuple[Tensor, Tensor, Tensor | float]:
    """The arguments with the batch to which theirs broadcast."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return a, b, t  # the op says what is wrong
    batched = isinstance(t, Tensor) and t.ndim > 1
    if a.shape == b.shape and not (batched and t.shape[:-1] != a.shape[:-1]):  # type: ignore[union-attr]
        return a, b, t
    if not a.ndim or not b.ndim or a.shape[-1] != b.shape[-1]:
        return a, b, t
    batches = [("a", a.shape[:-1]), ("b", b.shape[:-1])]
    if batched:
        batches.append(("t", t.shape[:-1]))  # type: ignore[union-attr]
    batch = common_batch("slerp", batches)
    if batched:
        t = t.expand(*batch, t.shape[-1])  # type: ignore[union-attr]
    return a.expand(*batch, a.shape[-1]), b.expand(*batch, b.shape[-1]), t


@public(
    "slerp",
    usage="slerp(a, b, t)",
    same=(
        "`w = torch.acos((a * b).sum(-1, keepdim=True)); (torch.sin((1 - t) * w) * a + "
        "torch.sin(t * w) * b) / torch.sin(w)`"
    ),
    inputs=Inputs(
        tensors=_two_points,
        options=lambda size: {"t": 0.3},
        sizes="images",
        dtypes=("float32",),
    ),
)
def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    r"""Points at fractions `t` of the great circle's arc from `a` to `b`.

    .. math:: y = \frac{\sin((1-t)\omega)}{\sin\omega} \hat a
        + \frac{\sin(t\omega)}{\sin\omega} \hat b, \qquad \omega = \angle(a, b)

    computed without that form's cancellation, so that it is exact to rounding at every
    angle from 0 to pi, and its gradients with it. The angle is computed once per pair,
    whatever the number of fractions.

    Only the directions :math:`\hat a = a/|a|`, :math:`\hat b = b/|b|` count: y has unit
    length, and gradients are those of a/|a| and b/|b|. Where one of the two has no length
    there is no direction, and y and all gradients are 0. Opposite directions have no
    unique arc: the one that is taken depends on `a` alone and passes through the component
    orthogonal to `a` of the coordinate axis on which `a` is smallest (the first of several). With
    D = 1 there is no arc between opposite directions, and y is cos(t pi) :math:`\hat a`.

    Args:
        a: (\*batch, D) with D >= 1, float16, bfloat16, float32 or float64; squares of
            lengths must not leave the range of float32 (of float64 in float64).
        b: (\*batch, D); batches broadcast; of two dtypes the wider is used.
        t: a number or 0-d tensor; (T,), the same for all pairs; or (\*batch, T), which
            broadcasts, too; or lists of numbers in such a shape. Values
            outside [0, 1] continue the great circle. On the device of `a`; a 0-d `t` may also
            be on the CPU, and its value is then an argument of the kernel. If such a `t` requires a
            gradient, the backward pass waits for the GPU and copies the gradient.

    Returns:
        y, contiguous, in the dtype of `a` and `b`: (\*batch, D) for a number or 0-d `t`,
        else (\*batch, T, D).

    Raises:
        ValueError: for shapes that do not fit; it names the argument.
        TypeError: for dtypes that are not floating, and for a `t` that is no number.

    Source: Shoemake, Animating Rotation with Quaternion Curves (SIGGRAPH 1985).

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        >>> ops.slerp(a, b, 0.5)
        tensor([0.7071, 0.7071])
        >>> ops.slerp(a, b, torch.linspace(0, 1, 5)).shape
        torch.Size([5, 2])
    """
    if isinstance(a, Tensor) and isinstance(b, Tensor) and a.dtype != b.dtype:
        check_floating("slerp", "a", a)
        check_floating("slerp", "b", b)
        dtype = torch.promote_types(a.dtype, b.dtype)
        a, b = a.to(dtype), b.to(dtype)
    fractions = _fractions(t, a)
    if torch.compiler.is_compiling():
        a, b, fractions = _in_one_batch(a, b, fractions)
    out: Tensor
    try:
        out = _slerp(a, b, fractions)
    except ValueError:
        # The op takes equal batches. To compare them first would cost every call.
        together = _in_one_batch(a, b, fractions)
        if together[0] is a and together[1] is b:
            raise
        out = _slerp(*together)
    return out
