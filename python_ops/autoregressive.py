"""Inverses of autoregressive maps whose parameters come from a masked ReLU network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, get_args

import torch
from torch import Tensor

from ._declaration import Inputs, as_keywords, declare, public
from ._fake import require, require_choices, require_positive, require_precision
from ._masked_network import check_degrees, check_input_order, flat_network
from ._vmap import batched_first, looping_vmap
from .affine_coupling import CHOICES, Layout, Order, ScaleFn
from .composite import autoregressive as formulas
from .composite.autoregressive import Map
from .composite.rational_quadratic_spline import parameter_count
from .mlp import with_lists
from .rational_quadratic_spline import (
    LARGEST_BINS,
    Boundary,
    Convention,
    check_options,
)

_AFFINE, _SPLINE = "affine_autoregressive_inverse", "spline_autoregressive_inverse"
BOUNDARIES = get_args(Boundary)
Indices = Sequence[int]


# ---- what the dispatcher's ops have in common ------------------------------------------------


def _affine(features: int, options: dict[str, Any]) -> Map:
    return formulas.affine(features, **options)


def _spline(features: int, options: dict[str, Any]) -> Map:
    return formulas.spline(features, **options)


def _check_affine(given: dict[str, Any]) -> int:
    require_choices(given, CHOICES)
    require_positive(given, "bound")
    return 2


def _check_spline(given: dict[str, Any]) -> int:
    check_options(given)
    return parameter_count(given["bins"], given["boundary"])


def _declare(
    name: str,
    map_of: Callable[[int, dict[str, Any]], Map],
    check: Callable[[dict[str, Any]], int],
) -> Callable[..., Any]:
    """One of the ops: its map, and the check of its options, which returns the outputs a feature.

    The arguments are z, offset, parameters, hidden, degrees, input_order, and the map's options.
    """

    def formula(z: Tensor, *args: Any) -> tuple[Tensor, Tensor]:
        a_map = map_of(z.shape[-1], as_keywords(name, args[5:]))
        return formulas.autoregressive_inverse(a_map, z, *args[:5])

    def backward_formula(*args: Any) -> tuple[Tensor, ...]:
        a_map = map_of(args[2].shape[-1], as_keywords(name, args[8:]))
        return formulas.autoregressive_inverse_backward(a_map, *args[:8])

    def fake(
        z: Tensor, offset: Tensor, parameters: Tensor, hidden: Indices, degrees: Indices,
        input_order: Indices, *options: Any,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        outputs = check(as_keywords(name, options))
        require_precision("offset", offset, z, "z")
        require_precision("parameters", parameters, z, "z")
        require(z.ndim >= 1, "`z` must have shape (*batch, features), got a scalar")
        features = z.shape[-1]
        require(
            sorted(input_order) == list(range(features)),
            f"`input_order` must hold each of 0, ..., {features - 1} once, got {[*input_order]}",
        )
        require(
            len(degrees) == sum(hidden),
            f"`degrees` must hold {sum(hidden)} numbers, one for each hidden unit, got "
            f"{len(degrees)}",
        )
        widths = [features, *hidden, outputs * features]
        require(
            offset.shape == (*z.shape[:-1], widths[1]),
            f"`offset` must have shape {(*z.shape[:-1], widths[1])}, got {tuple(offset.shape)}",
        )
        count = sum(a * b for a, b in pairwise(widths)) + sum(widths[2:])
        require(
            parameters.shape == (count,),
            f"`parameters` must have shape ({count},), got {tuple(parameters.shape)}",
        )
        log_det = z.new_empty(z.shape[:-1], dtype=torch.promote_types(z.dtype, torch.float32))
        return z.new_empty(z.shape), log_det

    return declare(
        name, formula=formula, backward_formula=backward_formula, fake=fake, vmap=_vmap,
        cpu_only=True,
    )  # fmt: skip


def _vmap(op: Callable[..., Any]) -> Callable[..., Any]:
    """Rows of one network are one batch; several networks are called one after the other."""
    apart = looping_vmap(op)
    if op._schema.name.endswith("_backward"):  # type: ignore[attr-defined]
        return apart  # the gradients of the parameters are sums over the batch

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        if in_dims[2] is not None:
            return apart(info, in_dims, *args)
        mapped = (batched_first(args[i], in_dims[i], info.batch_size) for i in range(2))
        return op(*mapped, *args[2:]), (0, 0)

    return rule


_INVERSES = {
    _AFFINE: _declare(_AFFINE, _affine, _check_affine),
    _SPLINE: _declare(_SPLINE, _spline, _check_spline),
}


def _solve(
    op: str, outputs: int, z: Any, weights: Any, biases: Any, degrees: Any, context: Any,
    input_order: Any, options: tuple[Any, ...],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    network = flat_network(op, outputs, z, weights, biases, degrees, context, input_order)
    try:
        out: tuple[Tensor, Tensor] = _INVERSES[op](z, *network, *options)
    except (TypeError, ValueError):
        # The kernels' errors know these as flat lists.
        check_degrees(op, degrees, z.shape[-1])
        if input_order is not None:
            check_input_order(op, input_order, z.shape[-1])
        raise
    return out


def _spline_outputs(bins: Any, boundary: Any) -> int:
    """How many parameters a feature has, which the shapes of a network depend on."""
    if boundary not in BOUNDARIES:
        raise ValueError(
            f"{_SPLINE}: `boundary` must be one of {', '.join(BOUNDARIES)}, got {boundary!r:.60}"
        )
    if isinstance(bins, bool) or not isinstance(bins, int):
        raise TypeError(f"{_SPLINE}: `bins` must be an integer, got {bins!r:.60}")
    if not 1 <= bins <= LARGEST_BINS:
        raise ValueError(f"{_SPLINE}: `bins` must be from 1 to {LARGEST_BINS}, got {bins}")
    return parameter_count(bins, boundary)


# ---- the public ops --------------------------------------------------------------------------


def _network(size: tuple[int, ...], outputs: int = 2) -> tuple[Tensor, ...]:
    rows, hidden = size
    layers = []
    for width_in, width_out in pairwise((6, hidden, hidden, 6 * outputs)):
        weight = torch.randn((width_out, width_in), dtype=torch.float64) / max(width_in, 1) ** 0.5
        layers += [weight / 2, torch.randn(width_out, dtype=torch.float64) / 2]
    return torch.randn((rows, 6), dtype=torch.float64), *layers


def _degrees(size: tuple[int, ...]) -> dict[str, Any]:
    hidden = size[1] if len(size) > 1 else 0
    layer = tuple(1 + i * 5 // hidden for i in range(hidden))
    return {"degrees": (layer, layer)}


@public(
    _AFFINE,
    usage=f"{_AFFINE}(z, weights, biases, degrees=degrees)",
    same=(
        "`for d in range(D): t, r = network(x).chunk(2, 1); "
        "x[:, d] = ((z - t) / torch.exp(2 * torch.tanh(r / 2)))[:, d]`"
    ),
    inputs=Inputs(
        tensors=_network, arguments=with_lists, options=_degrees, sizes="networks",
        dtypes=("float32",),
    ),
    on_gpu="torch's matrix products",
    bijection=True,
)  # fmt: skip
def affine_autoregressive_inverse(
    z: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    degrees: Sequence[Sequence[int]],
    context: Tensor | None = None,
    input_order: Sequence[int] | None = None,
    scale_fn: ScaleFn = "tanh",
    bound: float = 2.0,
    layout: Layout = "shift_scale",
    order: Order = "scale_then_shift",
) -> tuple[Tensor, Tensor]:
    r"""Solves an affine autoregressive map for its input, feature by feature.

    .. math:: x_d = (z_d - t_d(x_{<d}, c)) / s_d(x_{<d}, c), \qquad
        \log|\det \partial x / \partial z| = -\sum \log s_d

    with shift t and scale s from a masked ReLU network (MADE). Each step evaluates only the units
    that the new feature completes, so that all steps together cost one pass of the network, where
    the usual inverse takes one for each feature. The gradient solves the transposed system
    likewise.

    Entries of the weights that the degrees mask are not read, and their gradients are zero. A
    hidden unit of degree m sees the first m features, the context, and the units of degrees up to
    m in the layer before; the outputs of the feature at position k of `input_order` see the units
    of degrees up to k (counted from 0).

    On the CPU the whole network stays in cache for a block of rows; on a GPU the steps are
    torch's matrix products.

    Args:
        z: (\*batch, D), float16, bfloat16, float32 or float64.
        weights: matrices (out, in) of the layers: from D features, and those of the context behind
            them, to 2 D outputs.
        biases: vectors (out,), one for each.
        degrees: of the units of each hidden layer, ascending, from 0 to D - 1.
        context: (\*batch, c), or of a batch that broadcasts to z's.
        input_order: the features from the first to the last one; default 0, 1, ..., D - 1.
        scale_fn, bound, layout, order: as in `affine_coupling`.

    Returns:
        x (\*batch, D), contiguous; log_det (\*batch) in nats, float32 for inputs below float64.
        Half precision computes in float32.

    Raises:
        ValueError: where shapes, devices or degrees do not fit together, or an option is unknown.
        TypeError: where dtypes do not fit, or are not floating.

    Source: Papamakarios et al. (arXiv 1705.07057), eq. 4-5; Germain et al. (arXiv 1502.03509).

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> weights = [torch.randn(4, 3), torch.randn(6, 4)]
        >>> biases = [torch.randn(4), torch.randn(6)]
        >>> z = torch.randn(5, 3)
        >>> x, log_det = ops.affine_autoregressive_inverse(
        ...     z, weights, biases, degrees=[(1, 1, 2, 2)]
        ... )
        >>> x.shape, log_det.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """
    return _solve(
        _AFFINE, 2, z, weights, biases, degrees, context, input_order,
        (scale_fn, bound, layout, order),
    )  # fmt: skip


@public(
    _SPLINE,
    usage=f"{_SPLINE}(z, weights, biases, degrees=degrees)",
    same=(
        "`for d in range(D): x[:, d] = rational_quadratic_spline(z, network(x), "
        "inverse=True)[0][:, d]`"
    ),
    inputs=Inputs(
        tensors=lambda size: _network(size, parameter_count(8, "linear")), arguments=with_lists,
        options=_degrees, sizes="networks", dtypes=("float32",),
    ),
    on_gpu="torch's matrix products",
    bijection=True,
)  # fmt: skip
def spline_autoregressive_inverse(
    z: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    *,
    degrees: Sequence[Sequence[int]],
    context: Tensor | None = None,
    input_order: Sequence[int] | None = None,
    bins: int = 8,
    bound: float = 3.0,
    boundary: Boundary = "linear",
    min_width: float = 1e-3,
    min_height: float = 1e-3,
    min_derivative: float = 1e-3,
    convention: Convention = "nflows",
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""Solves an autoregressive map by rational-quadratic splines for its input.

    .. math:: x_d = g_d^{-1}(z_d), \qquad
        \log|\det \partial x / \partial z| = -\sum \log g_d'(x_d)

    with a spline :math:`g_d` whose M raw parameters a masked ReLU network (MADE) gives of
    :math:`x_{<d}` and the context; those of a feature lie together, as
    :func:`rational_quadratic_spline` takes them. Networks, costs and devices are as in
    :func:`affine_autoregressive_inverse`.

    Args:
        z: (\*batch, D), float16, bfloat16, float32 or float64.
        weights: matrices (out, in) of the layers: from D features, and those of the context behind
            them, to M D outputs.
        biases: vectors (out,), one for each.
        degrees, context, input_order: as in `affine_autoregressive_inverse`.
        bins, bound, boundary, min_width, min_height, min_derivative, convention, scale: as in
            `rational_quadratic_spline`.

    Returns:
        x (\*batch, D), contiguous; log_det (\*batch) in nats, float32 for inputs below float64.

    Raises:
        ValueError, TypeError: as `affine_autoregressive_inverse` and `rational_quadratic_spline`.

    Source: Durkan et al. (arXiv 1906.04032), section 3.2; Germain et al. (arXiv 1502.03509).

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> weights = [torch.randn(4, 3), torch.randn(3 * 23, 4)]
        >>> biases = [torch.randn(4), torch.randn(3 * 23)]
        >>> x, log_det = ops.spline_autoregressive_inverse(
        ...     torch.randn(5, 3), weights, biases, degrees=[(1, 1, 2, 2)]
        ... )
        >>> x.shape, log_det.shape
        (torch.Size([5, 3]), torch.Size([5]))
    """
    outputs = _spline_outputs(bins, boundary)
    return _solve(
        _SPLINE, outputs, z, weights, biases, degrees, context, input_order,
        (bins, bound, boundary, min_width, min_height, min_derivative, convention, scale),
    )  # fmt: skip
