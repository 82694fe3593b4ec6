"""Affine coupling with its log-det-Jacobian, in one pass over memory."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from ._channels import Reduction as Reduction
from ._channels import over_channels, require_channels
from ._declaration import Inputs, as_keywords, declare, public, under
from ._fake import require, require_choices, require_positive, require_precision
from ._vmap import folding_vmap
from .composite import affine_coupling as formulas
from .composite.affine_coupling import KernelReduction as KernelReduction
from .composite.affine_coupling import Layout as Layout
from .composite.affine_coupling import Order as Order
from .composite.affine_coupling import ScaleFn as ScaleFn
from .composite.affine_coupling import Transform as Transform
from .composite.affine_coupling import table_of_scales

# The values of the options that have a list of them.
CHOICES: dict[str, tuple[str, ...]] = {
    "scale_fn": get_args(ScaleFn),
    "layout": get_args(Layout),
    "order": get_args(Order),
    "transform": get_args(Transform),
    "reduction": get_args(KernelReduction),
}


def _formula(x: Tensor, params: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    return formulas.affine_coupling_split(x, params, **as_keywords("affine_coupling", options))


def _backward_formula(
    grad_y: Tensor, grad_log_det: Tensor, x: Tensor, params: Tensor, *options: Any
) -> tuple[Tensor, Tensor]:
    return formulas.affine_coupling_split_backward(
        grad_y, grad_log_det, x, params, **as_keywords("affine_coupling", options)
    )


def _fake(x: Tensor, params: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    given = as_keywords("affine_coupling", options)
    require_choices(given, CHOICES)
    require_positive(given, "bound", "gain")
    require_precision("params", params, x, "x")
    require(x.ndim >= 2, f"`x` must have shape (B, C, *S), got {tuple(x.shape)}")
    require(
        params.ndim == x.ndim
        and (params.shape[0], *params.shape[2:]) == (x.shape[0], *x.shape[2:])
        and params.shape[1] % 2 == 0
        and params.shape[1] <= 2 * x.shape[1],
        f"`params` must have shape (B, 2 C, *S) for `x` of shape (B, C, *S) = {tuple(x.shape)}, "
        f"got {tuple(params.shape)}",
    )
    each = given["reduction"] == "none"
    shape = (x.shape[0], params.shape[1] // 2, *x.shape[2:]) if each else x.shape[:1]
    log_det = x.new_empty(shape, dtype=torch.promote_types(x.dtype, torch.float32))
    return x.new_empty(x.shape), log_det


_affine_coupling = declare(
    "affine_coupling",
    formula=_formula,
    backward_formula=_backward_formula,
    fake=_fake,
    vmap=folding_vmap,
)
_split_coupling = under("affine_coupling_split", "affine_coupling")
_split_backward = under("affine_coupling_split_backward", "affine_coupling_backward")


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def _whole(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    return _normal(*size), _normal(size[0], 2 * size[1], *size[2:])


def _split(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    return _normal(*size), _normal(size[0], size[1] // 2 * 2, *size[2:])


def _gradients(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    return _normal(*size), _normal(size[0]), *_split(size)


@public(
    "affine_coupling",
    usage="affine_coupling(x, params)",
    same=(
        "`t, r = params.chunk(2, 1); log_s = 2 * torch.tanh(r / 2); y = x * log_s.exp() + t; "
        "log_det = log_s.flatten(1).sum(1)`"
    ),
    inputs=Inputs(tensors=_whole, sizes="images", dtypes=("float32", "bfloat16", "float64")),
    bijection=True,
)
def affine_coupling(
    x: Tensor,
    params: Tensor,
    *,
    scale_fn: ScaleFn = "tanh",
    bound: float = 2.0,
    gain: float = 1.0,
    layout: Layout = "shift_scale",
    order: Order = "scale_then_shift",
    inverse: bool = False,
    dim: int = 1,
    reduction: Reduction = "row",
) -> tuple[Tensor, Tensor]:
    r"""Couples `x` with a conditioner's raw output.

    .. math:: y = x \odot s + t, \qquad \log|\det \partial y / \partial x| = \sum \log s

    with shift :math:`t` and raw scale taken from `params`; :math:`r` is `gain` times the raw
    scale, and :math:`s` comes from it by `scale_fn`:

    {table of scale functions}

    Args:
        x: the part to couple, (B, C, \*S), float16, bfloat16, float32 or float64.
        params: (B, 2 C, \*S), the conditioner's output taken whole; the dtype of `x`,
            or any mixture of float32 and the half precisions (as autocast makes them).
        scale_fn: how the raw scale becomes a positive one.
        bound: of the log scale, for tanh, softclip and atan; > 0.
        gain: factor of the raw scale, > 0. FrEIA's clamp c 0.636 atan(a) is ``scale_fn="atan"``
            with ``bound=c, gain=c``.
        layout: where shift and raw scale lie along `dim`: in halves (`shift_scale`,
            `scale_shift`) or alternating (`interleaved`: 0::2 shift, 1::2 scale;
            `interleaved_scale_shift`: 0::2 scale, 1::2 shift).
        order: ``scale_then_shift`` (x s + t) or ``shift_then_scale`` ((x + t) s).
        inverse: undo the coupling; `log_det` is then the inverse map's.
        dim: of the channels; any but the first. With ``dim=-1`` `x` is (B, \*S, C), as the tokens
            of a transformer; contiguous tensors are then not copied.
        reduction: what of the elements' log s `log_det` is: ``row`` sums over each row, ``dim``
            over `dim`, so that each position (token) has one, ``none`` leaves them.

    Returns:
        y, shaped and typed as `x`, contiguous; log_det in nats, float32 for inputs below float64:
        (B,), the shape of `x` without `dim`, or that of `x`, as `reduction` says.

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

        Tokens, with a log-det for each:

        >>> x, params = torch.randn(4, 49, 16), torch.randn(4, 49, 32)
        >>> y, log_det = ops.affine_coupling(x, params, dim=-1, reduction="dim")
        >>> y.shape, log_det.shape
        (torch.Size([4, 49, 16]), torch.Size([4, 49]))
    """
    require_channels("affine_coupling", x, params, 2, dim)

    def kernel(x: Tensor, params: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = _affine_coupling(
            x, params, scale_fn, bound, gain, layout, order, inverse, "second", reduction
        )
        return out

    return over_channels("affine_coupling", kernel, x, params, dim, reduction)


# One list of the scale functions, beside their formulas.
affine_coupling.__doc__ = (affine_coupling.__doc__ or "").replace(
    "{table of scale functions}", table_of_scales()
)


@public(
    "affine_coupling",
    usage="affine_coupling_split(x, params)",
    same=(
        "`a, b = x.chunk(2, 1); b, log_det = affine_coupling(b, params); y = torch.cat([a, b], 1)`"
    ),
    inputs=Inputs(tensors=_split, sizes="images", dtypes=("float32",)),
    bijection=True,
)
def affine_coupling_split(
    x: Tensor,
    params: Tensor,
    *,
    transform: Transform = "second",
    scale_fn: ScaleFn = "tanh",
    bound: float = 2.0,
    gain: float = 1.0,
    layout: Layout = "shift_scale",
    order: Order = "scale_then_shift",
    inverse: bool = False,
    dim: int = 1,
    reduction: Reduction = "row",
) -> tuple[Tensor, Tensor]:
    r"""`affine_coupling` of a part of the channels; the others are copied in the same pass.

    With `params` of 2 k channels, the last k channels of `x` (``transform="second"``) or
    the first k (``"first"``) are coupled; or every other one, 0::2 (``"even"``) or 1::2
    (``"odd"``). Equals splitting, coupling and joining.

    Args:
        x: the whole input, (B, C, \*S).
        params: (B, 2 k, \*S) with k <= C, computed from the C - k other channels.
        transform: which channels are coupled.
        scale_fn, bound, gain, layout, order, inverse, dim, reduction: as in `affine_coupling`; with
            ``reduction="none"`` log-dets are those of the k channels that are coupled.

    Returns:
        y, shaped and typed as `x`, contiguous; log_det in nats, (B,) unless `reduction` says else.

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

    def kernel(x: Tensor, params: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = _split_coupling(
            x, params, scale_fn, bound, gain, layout, order, inverse, transform, reduction
        )
        return out

    return over_channels("affine_coupling_split", kernel, x, params, dim, reduction)


@public(
    "affine_coupling",
    usage="affine_coupling_split_backward(grad_y, grad_log_det, x, params)",
    same=(
        "`torch.autograd.grad(affine_coupling_split(x, params), (x, params), (grad_y, "
        "grad_log_det))`"
    ),
    inputs=Inputs(tensors=_gradients, sizes="images"),
)
def affine_coupling_split_backward(
    grad_y: Tensor,
    grad_log_det: Tensor,
    x: Tensor,
    params: Tensor,
    *,
    transform: Transform = "second",
    scale_fn: ScaleFn = "tanh",
    bound: float = 2.0,
    gain: float = 1.0,
    layout: Layout = "shift_scale",
    order: Order = "scale_then_shift",
    inverse: bool = False,
    reduction: KernelReduction = "row",
) -> tuple[Tensor, Tensor]:
    r"""The gradients of `affine_coupling_split`, without its forward.

    For backpropagation that recovers `x` from y instead of having stored it.

    Args:
        grad_y: of the shape and dtype of y.
        grad_log_det: of the shape and dtype of log_det.
        x, params, transform, scale_fn, bound, gain, layout, order, inverse, reduction: of the
            forward, whose channels are along dim 1 and whose log-dets are those of rows or of
            elements.

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
    out: tuple[Tensor, Tensor] = _split_backward(
        grad_y, grad_log_det, x, params, scale_fn, bound, gain, layout, order, inverse,
        transform, reduction,
    )  # fmt: skip
    return out
