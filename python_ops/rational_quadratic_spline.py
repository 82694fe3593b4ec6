"""Rational-quadratic splines with their log-det-Jacobian, in one pass over memory."""

from __future__ import annotations

from typing import Any, get_args

import torch
from torch import Tensor

from ._channels import Reduction as Reduction
from ._channels import over_channels, require_channels
from ._declaration import Inputs, as_keywords, declare, public, under
from ._fake import require, require_choices, require_positive, require_precision
from ._vmap import folding_vmap
from .composite import rational_quadratic_spline as formulas
from .composite.affine_coupling import KernelReduction
from .composite.affine_coupling import Transform as Transform
from .composite.rational_quadratic_spline import Boundary as Boundary
from .composite.rational_quadratic_spline import Convention as Convention
from .composite.rational_quadratic_spline import Options as Options
from .composite.rational_quadratic_spline import parameter_count as parameter_count

# The values of the options that have a list of them.
CHOICES: dict[str, tuple[str, ...]] = {
    "boundary": get_args(Boundary),
    "convention": get_args(Convention),
    "transform": get_args(Transform),
    "reduction": get_args(KernelReduction),
}
LARGEST_BINS = 128

_OP = "rational_quadratic_spline"


def _parsed(options: tuple[Any, ...]) -> tuple[Options, str, str]:
    """The options in the order of the schema."""
    given = as_keywords(_OP, options)
    transform, reduction = given.pop("transform"), given.pop("reduction")
    return Options(**given), transform, reduction


def _formula(x: Tensor, params: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    return formulas.rational_quadratic_spline_split(x, params, *_parsed(options))


def _backward_formula(
    grad_y: Tensor, grad_log_det: Tensor, x: Tensor, params: Tensor, *options: Any
) -> tuple[Tensor, Tensor]:
    return formulas.rational_quadratic_spline_split_backward(
        grad_y, grad_log_det, x, params, *_parsed(options)
    )


def check_options(given: dict[str, Any]) -> None:
    """Raises for a value that no kernel takes; what is not given is not looked at."""
    require_choices(given, CHOICES)
    bins = given["bins"]
    require(1 <= bins <= LARGEST_BINS, f"`bins` must be from 1 to {LARGEST_BINS}, got {bins}")
    require_positive(given, "bound", "scale")
    for option in ("min_width", "min_height"):
        value = given[option]
        require(
            value >= 0 and value * bins < 1,
            f"`{option}` must be a number from 0 to less than 1 / bins = {1 / bins:g}, "
            f"got {value:g}",
        )
    least = given["min_derivative"]
    require(0 < least < 1, f"`min_derivative` must be a number between 0 and 1, got {least:g}")


def _fake(x: Tensor, params: Tensor, *options: Any) -> tuple[Tensor, Tensor]:
    given = as_keywords(_OP, options)
    check_options(given)
    require_precision("params", params, x, "x")
    require(x.ndim >= 2, f"`x` must have shape (B, C, *S), got {tuple(x.shape)}")
    parts = parameter_count(given["bins"], given["boundary"])
    require(
        params.ndim == x.ndim
        and (params.shape[0], *params.shape[2:]) == (x.shape[0], *x.shape[2:])
        and params.shape[1] % parts == 0
        and params.shape[1] // parts <= x.shape[1],
        f"`params` must have shape (B, {parts} C, *S) for `x` of shape (B, C, *S) = "
        f"{tuple(x.shape)}, got {tuple(params.shape)}",
    )
    each = given["reduction"] == "none"
    shape = (x.shape[0], params.shape[1] // parts, *x.shape[2:]) if each else x.shape[:1]
    log_det = x.new_empty(shape, dtype=torch.promote_types(x.dtype, torch.float32))
    return x.new_empty(x.shape), log_det


_spline = declare(
    _OP,
    formula=_formula,
    backward_formula=_backward_formula,
    fake=_fake,
    vmap=folding_vmap,
)
_split_spline = under("rational_quadratic_spline_split", _OP)


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def _whole(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    return _normal(*size), _normal(size[0], parameter_count(8, "linear") * size[1], *size[2:])


def _split(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    moved = size[1] - size[1] // 2
    return _normal(*size), _normal(size[0], parameter_count(8, "linear") * moved, *size[2:])


@public(
    _OP,
    usage="rational_quadratic_spline(x, params)",
    same=(
        "`widths, heights, derivatives = params.view(B, C, 23, *S).split([8, 8, 7], 2)` and eq. 4 "
        "and 5 of Durkan et al., as nflows' `unconstrained_rational_quadratic_spline`"
    ),
    inputs=Inputs(tensors=_whole, sizes="images", dtypes=("float32",)),
    bijection=True,
)
def rational_quadratic_spline(
    x: Tensor,
    params: Tensor,
    *,
    bins: int = 8,
    bound: float = 3.0,
    boundary: Boundary = "linear",
    min_width: float = 1e-3,
    min_height: float = 1e-3,
    min_derivative: float = 1e-3,
    convention: Convention = "nflows",
    scale: float = 1.0,
    inverse: bool = False,
    dim: int = 1,
    reduction: Reduction = "row",
) -> tuple[Tensor, Tensor]:
    r"""A monotonic rational-quadratic spline of each element, from a network's raw output.

    .. math:: y = y_k + \frac{h (s u^2 + d_k u v)}{s + (d_k + d_{k+1} - 2 s) u v}, \qquad
        u = \frac{x - x_k}{w}, \quad v = 1 - u, \quad s = h / w

    in the bin k of x, with width w, height h and derivatives :math:`d_k, d_{k+1}` at its ends.
    [-bound, bound] is mapped to itself; outside, the map is the identity. The parameters of a
    channel lie together, ``params.view(B, C, M, *S)``: K = `bins` raw widths, K raw heights, and
    raw derivatives,

    ============ ======= ==========================================================
    `boundary`   M       raw derivatives
    ============ ======= ==========================================================
    ``linear``   3 K - 1 at the K - 1 inner knots; 1 at the ends, where the lines begin
    ``circular`` 3 K     at all knots but the last, whose derivative is the first's
    ``none``     3 K + 1 at all K + 1 knots
    ============ ======= ==========================================================

    Widths are 2 bound (min_width + (1 - K min_width) softmax(scale r)), heights likewise,
    derivatives min_derivative + softplus(r). With ``convention="zuko"`` widths are
    2 bound softmax(c(scale r)), c(r) = r / (1 + abs(2 r / log(min_derivative))), and derivatives
    exp(r / (1 + abs(r / log(min_derivative)))).

    Args:
        x: (B, C, \*S), float16, bfloat16, float32 or float64.
        params: (B, C M, \*S), the network's output taken whole; the dtype of `x`, or any
            mixture of float32 and the half precisions (as autocast makes them).
        bins: K, from 1 to 128.
        bound: half the length of the interval; > 0.
        boundary: ``linear``, ``circular`` or ``none``: the derivatives at the ends, see above.
        min_width, min_height: of a bin, relative to the interval; from 0 to less than 1 / K.
        min_derivative: > 0 and < 1.
        convention: the library whose formulas turn raw parameters into widths, heights and
            derivatives: ``nflows``, ``normflows`` (the same) or ``zuko``, which has no min_width
            and min_height.
        scale: factor of the raw widths and heights; nflows' and normflows' layers divide them by
            the square root of the width of their network.
        inverse: solve for x; `log_det` is then the inverse map's.
        dim: of the channels; any but the first. With ``dim=-1`` `x` is (B, \*S, C).
        reduction: ``row`` sums the elements' log-dets over each row, ``dim`` over `dim`, ``none``
            leaves them.

    Returns:
        y, shaped and typed as `x`, contiguous; log_det in nats, float32 for inputs below float64:
        (B,), the shape of `x` without `dim`, or that of `x`, as `reduction` says. Where x is
        outside the interval y is x and its log-det 0.

    Raises:
        ValueError: for shapes or options that do not fit; it names the argument.
        TypeError: for dtypes that are not floating or do not go together.

    Source: Durkan et al., Neural Spline Flows (arXiv 1906.04032), eq. 4-8; for the circular
    boundary Rezende et al. (arXiv 2002.02428), sec. 3.1.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> x, params = torch.randn(4, 3), torch.randn(4, 3 * 23)
        >>> y, log_det = ops.rational_quadratic_spline(x, params)
        >>> back, _ = ops.rational_quadratic_spline(y, params, inverse=True)
        >>> torch.allclose(back, x, atol=1e-3), log_det.shape
        (True, torch.Size([4]))
    """
    known = boundary in CHOICES["boundary"] and isinstance(bins, int) and 0 < bins <= LARGEST_BINS
    if known:
        parts = parameter_count(bins, boundary)
        of = f", {bins} bins and boundary={boundary!r}"
        require_channels(_OP, x, params, parts, dim, of)

    def kernel(x: Tensor, params: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = _spline(
            x, params, bins, bound, boundary, min_width, min_height, min_derivative, convention,
            scale, inverse, "second", reduction,
        )  # fmt: skip
        return out

    return over_channels(_OP, kernel, x, params, dim, reduction)


@public(
    _OP,
    usage="rational_quadratic_spline_split(x, params)",
    same=(
        "`a, b = x.chunk(2, 1); b, log_det = rational_quadratic_spline(b, params); "
        "y = torch.cat([a, b], 1)`"
    ),
    inputs=Inputs(tensors=_split, sizes="images", dtypes=("float32",)),
    bijection=True,
)
def rational_quadratic_spline_split(
    x: Tensor,
    params: Tensor,
    *,
    transform: Transform = "second",
    bins: int = 8,
    bound: float = 3.0,
    boundary: Boundary = "linear",
    min_width: float = 1e-3,
    min_height: float = 1e-3,
    min_derivative: float = 1e-3,
    convention: Convention = "nflows",
    scale: float = 1.0,
    inverse: bool = False,
    dim: int = 1,
    reduction: Reduction = "row",
) -> tuple[Tensor, Tensor]:
    r"""`rational_quadratic_spline` of a part of the channels; the others are copied in one pass.

    With `params` of k M channels, the last k channels of `x` (``transform="second"``) or the
    first k (``"first"``) are transformed; or every other one, 0::2 (``"even"``) or 1::2
    (``"odd"``). Equals splitting, transforming and joining.

    Args:
        x: the whole input, (B, C, \*S).
        params: (B, k M, \*S) with k <= C, computed from the C - k other channels.
        transform: which channels are transformed.
        bins, bound, boundary, min_width, min_height, min_derivative, convention: as in
            `rational_quadratic_spline`.
        scale, inverse, dim, reduction: likewise; with ``reduction="none"`` log-dets are those of
            the k channels that are transformed.

    Returns:
        y, shaped and typed as `x`, contiguous; log_det in nats, (B,) unless `reduction` says else.

    Raises:
        ValueError, TypeError: as `rational_quadratic_spline`.

    Source: Durkan et al. (arXiv 1906.04032), sec. 3.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> x, params = torch.randn(4, 6), torch.randn(4, 3 * 23)
        >>> y, log_det = ops.rational_quadratic_spline_split(x, params)
        >>> torch.equal(y[:, :3], x[:, :3])
        True
    """

    def kernel(x: Tensor, params: Tensor, reduction: str) -> tuple[Tensor, Tensor]:
        out: tuple[Tensor, Tensor] = _split_spline(
            x, params, bins, bound, boundary, min_width, min_height, min_derivative, convention,
            scale, inverse, transform, reduction,
        )  # fmt: skip
        return out

    return over_channels("rational_quadratic_spline_split", kernel, x, params, dim, reduction)
