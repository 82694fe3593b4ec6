"""Affine coupling with its log-det-Jacobian, in one pass over memory."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from . import reference
from ._library import entry, folding_vmap, register

ScaleFn = Literal["exp", "tanh", "softclip", "atan", "sigmoid", "inv_sigmoid", "softplus"]
Layout = Literal["shift_scale", "scale_shift", "interleaved"]
Order = Literal["scale_then_shift", "shift_then_scale"]
Transform = Literal["first", "second"]


def as_keywords(
    scale_fn: str, bound: float, layout: str, order: str, inverse: bool, transform: str
) -> dict[str, Any]:
    """The options in the order of the dispatcher's schema, by name."""
    return {
        "scale_fn": scale_fn,
        "bound": bound,
        "layout": layout,
        "order": order,
        "inverse": inverse,
        "transform": transform,
    }


def _reference(x: Tensor, params: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    return reference.affine_coupling_split(x, params, **as_keywords(*options))


def _backward_reference(
    grad_y: Tensor, grad_log_det: Tensor, x: Tensor, params: Tensor, *options: Any
) -> tuple[Tensor, Tensor]:
    return reference.affine_coupling_split_backward(
        grad_y, grad_log_det, x, params, **as_keywords(*options)
    )


def _fake(x: Tensor, params: Tensor, *options: object) -> tuple[Tensor, Tensor]:
    log_det = x.new_empty(x.shape[0], dtype=torch.promote_types(x.dtype, torch.float32))
    return x.new_empty(x.shape), log_det


def _fake_backward(
    grad_y: Tensor, grad_log_det: Tensor, x: Tensor, params: Tensor, *options: object
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), params.new_empty(params.shape)


register(
    "affine_coupling",
    reference=_reference,
    backward_reference=_backward_reference,
    fake=_fake,
    fake_backward=_fake_backward,
    vmap=folding_vmap,
)
_affine_coupling = entry("affine_coupling", "x", "params")


def affine_coupling(
    x: Tensor,
    params: Tensor,
    *,
    scale_fn: ScaleFn = "tanh",
    bound: float = 2.0,
    layout: Layout = "shift_scale",
    order: Order = "scale_then_shift",
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""Couples `x` with a conditioner's raw output.

    .. math:: y = x \odot s + t, \qquad \log|\det \partial y / \partial x| = \sum \log s

    with shift :math:`t` and raw scale :math:`r` taken from `params` and :math:`s` from
    :math:`r` by `scale_fn`:

    ============= ==============================================
    exp           log s = r
    tanh          log s = bound tanh(r / bound)
    softclip      log s = r / (1 + abs(r / bound))
    atan          log s = 0.636 bound atan(r / bound)
    sigmoid       s = sigmoid(r + 2)
    inv_sigmoid   s = 1 / sigmoid(r + 2)
    softplus      s = clamp(softplus(r) + 1e-3, 0, 3)
    ============= ==============================================

    Args:
        x: the part to couple, (B, C, \*S), float16, bfloat16, float32 or float64.
        params: (B, 2 C, \*S), the conditioner's output taken whole; the dtype of `x`,
            or any mixture of float32 and the half precisions (as autocast makes them).
        scale_fn: how the raw scale becomes a positive one.
        bound: of the log scale, for tanh, softclip and atan; > 0.
        layout: where shift and raw scale lie along dim 1: in halves (`shift_scale`,
            `scale_shift`) or alternating (`interleaved`: 0::2 shift, 1::2 scale).
        order: ``scale_then_shift`` (x s + t) or ``shift_then_scale`` ((x + t) s).
        inverse: undo the coupling; `log_det` is then the inverse map's.

    Returns:
        y, shaped and typed as `x`, contiguous; log_det (B,) in nats, float32 for inputs
        below float64.

    Raises:
        ValueError: for shapes, options or a bound that do not fit; it names the argument.
        TypeError: for dtypes that are not floating or do not go together.

    Source: Dinh et al., Density estimation using Real NVP (arXiv 1605.08803), eq. 7-8.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> x, params = torch.randn(4, 3, 8, 8), torch.randn(4, 6, 8, 8)
        >>> y, log_det = ops.affine_coupling(x, params)
        >>> back, _ = ops.affine_coupling(y, params, inverse=True)
        >>> torch.allclose(back, x, atol=1e-5), log_det.shape
        (True, torch.Size([4]))
    """
    # The op itself allows fewer (see affine_coupling_split); the rest it checks.
    tensors = isinstance(x, Tensor) and isinstance(params, Tensor)
    if tensors and x.ndim >= 2 <= params.ndim and params.shape[1] != 2 * x.shape[1]:
        raise ValueError(
            f"affine_coupling: `params` must have 2 x {x.shape[1]} channels for `x` of shape "
            f"{tuple(x.shape)}, got shape {tuple(params.shape)}"
        )
    out: tuple[Tensor, Tensor] = _affine_coupling(
        x, params, scale_fn, bound, layout, order, inverse, "second"
    )
    return out


def affine_coupling_split(
    x: Tensor,
    params: Tensor,
    *,
    transform: Transform = "second",
    scale_fn: ScaleFn = "tanh",
    bound: float = 2.0,
    layout: Layout = "shift_scale",
    order: Order = "scale_then_shift",
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""`affine_coupling` of a part of the channels; the others are copied in the same pass.

    With `params` of 2 k channels, the last k channels of `x` (``transform="second"``) or
    the first k (``"first"``) are coupled. Equals splitting, coupling and concatenating.

    Args:
        x: the whole input, (B, C, \*S).
        params: (B, 2 k, \*S) with k <= C, computed from the C - k other channels.
        transform: which end of the channels is coupled.
        scale_fn, bound, layout, order, inverse: as in `affine_coupling`.

    Returns:
        y (B, C, \*S), contiguous; log_det (B,) in nats.

    Raises:
        ValueError, TypeError: as `affine_coupling`.

    Source: Dinh et al. (arXiv 1605.08803), eq. 7-8 and fig. 2.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> x, params = torch.randn(4, 6), torch.randn(4, 6)
        >>> y, log_det = ops.affine_coupling_split(x, params)
        >>> torch.equal(y[:, :3], x[:, :3])
        True
    """
    out: tuple[Tensor, Tensor] = _affine_coupling(
        x, params, scale_fn, bound, layout, order, inverse, transform
    )
    return out


def affine_coupling_split_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    *,
    transform: Transform = "second",
    scale_fn: ScaleFn = "tanh",
    bound: float = 2.0,
    layout: Layout = "shift_scale",
    order: Order = "scale_then_shift",
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""The gradients of `affine_coupling_split`, without its forward.

    For backpropagation that recovers `x` from y instead of having stored it.

    Args:
        grad_y: of the shape and dtype of y.
        grad_log_det: (B,), of the dtype of log_det.
        x, params, transform, scale_fn, bound, layout, order, inverse: of the forward.

    Returns:
        The gradients of `x` and of `params`, in their shapes and dtypes.

    Raises:
        ValueError, TypeError: as `affine_coupling`.

    Source: Gomez et al., The Reversible Residual Network (arXiv 1707.04585), algorithm 1.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> x, params = torch.randn(4, 6), torch.zeros(4, 6)
        >>> grads = ops.affine_coupling_split_backward(x, torch.ones(4), x, params)
        >>> torch.equal(grads[0], x), grads[1].shape  # the identity's
        (True, torch.Size([4, 6]))
    """
    op = torch.ops.flowkernels.affine_coupling_backward.default
    out: tuple[Tensor, Tensor] = op(
        grad_y, grad_log_det, x, params, scale_fn, bound, layout, order, inverse, transform
    )
    return out
