"""The inverse of an autoregressive map whose parameters come from a masked ReLU network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from ._broadcast import common_batch
from ._declaration import Inputs, as_keywords, declare, public
from ._errors import SUPPORTED, check_floating
from ._fake import require, require_precision
from ._vmap import batched_first, looping_vmap
from .affine_coupling import CHOICES, Layout, Order, ScaleFn
from .composite import autoregressive as formulas
from .mlp import with_lists

_OP = "affine_autoregressive_inverse"
Indices = Sequence[int]


def _formula(
    z: Tensor, offset: Tensor, parameters: Tensor, hidden: Indices, degrees: Indices,
    input_order: Indices, *options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    return formulas.affine_autoregressive_inverse(
        z, offset, parameters, hidden, degrees, input_order, **as_keywords(_OP, options)
    )


def _backward_formula(
    grad_x: Tensor, grad_log_det: Tensor, z: Tensor, offset: Tensor, parameters: Tensor,
    hidden: Indices, degrees: Indices, input_order: Indices, *options: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    return formulas.affine_autoregressive_inverse_backward(
        grad_x, grad_log_det, z, offset, parameters, hidden, degrees, input_order,
        **as_keywords(_OP, options),
    )  # fmt: skip


def _fake(
    z: Tensor, offset: Tensor, parameters: Tensor, hidden: Indices, degrees: Indices,
    input_order: Indices, *options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    given = as_keywords(_OP, options)
    for option in ("scale_fn", "layout", "order"):
        names = ", ".join(CHOICES[option])
        require(
            given[option] in CHOICES[option],
            f"`{option}` must be one of {names}, got {given[option]!r}",
        )
    require(
        0 < given["bound"] < math.inf,
        f"`bound` must be a finite number > 0, got {given['bound']:g}",
    )
    require_precision("offset", offset, z, "z")
    require_precision("parameters", parameters, z, "z")
    require(z.ndim >= 1, "`z` must have shape (*batch, features), got a scalar")
    features = z.shape[-1]
    require(
        sorted(input_order) == list(range(features)),
        f"`input_order` must hold each of 0, ..., {features - 1} once, got {list(input_order)}",
    )
    widths = [features, *hidden, 2 * features]
    require(
        len(degrees) == sum(hidden),
        f"`degrees` must hold {sum(hidden)} numbers, one for each hidden unit, got {len(degrees)}",
    )
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


_inverse = declare(
    _OP,
    formula=_formula,
    backward_formula=_backward_formula,
    fake=_fake,
    vmap=_vmap,
    cpu_only=True,
)


# ---- the flat parameters of a network ------------------------------------------------------


def _fits(z: Any, weights: Any, biases: Any, degrees: Any) -> bool:
    """Whether layers are plainly those of `degrees`; what is not is looked at with care."""
    if type(z) is not Tensor or not z.ndim or torch.compiler.is_compiling():
        return False
    if type(weights) is not list or type(biases) is not list or type(degrees) is not tuple:
        return False
    if not all(type(layer) is tuple for layer in degrees):
        return False
    if not all(isinstance(t, Tensor) for t in (*weights, *biases)):
        return False
    before, dtype = z.shape[-1], z.dtype
    widths = [*map(len, degrees), 2 * before]
    if not len(weights) == len(biases) == len(widths):
        return False
    for weight, bias, width in zip(weights, biases, widths, strict=True):
        if weight.dtype is not dtype or bias.dtype is not dtype:
            return False
        if weight.shape != (width, before) or bias.shape != (width,):
            return False
        before = width
    return True


def _check_layers(z: Tensor, weights: Any, biases: Any, degrees: Any, extra: int) -> None:
    """Raises what is wrong with the layers of a network."""
    check_floating(_OP, "z", z)
    if z.ndim == 0:
        raise ValueError(f"{_OP}: `z` must have shape (*batch, features), got a scalar")
    for name, value in (("weights", weights), ("biases", biases)):
        if not isinstance(value, (list, tuple)):
            kind = type(value).__name__
            raise TypeError(f"{_OP}: `{name}` must be a sequence of torch.Tensors, got {kind}")
    _check_degrees(degrees, z.shape[-1])
    widths = (z.shape[-1], *(len(layer) for layer in degrees), 2 * z.shape[-1])
    for name, value in (("weights", weights), ("biases", biases)):
        if len(value) != len(widths) - 1:
            raise ValueError(
                f"{_OP}: `{name}` must hold {len(widths) - 1} tensors, one for each of the "
                f"{len(degrees)} layers of `degrees` and one for the outputs, got {len(value)}"
            )
    for i, (width_in, width_out) in enumerate(pairwise(widths)):
        shape = (width_out, width_in + (0 if i else extra))
        for name, tensor, wanted in (
            (f"weights[{i}]", weights[i], shape), (f"biases[{i}]", biases[i], shape[:1]),
        ):  # fmt: skip
            _check_like(name, tensor, z)
            if tensor.shape != wanted:
                raise ValueError(
                    f"{_OP}: `{name}` must have shape {wanted}, got {tuple(tensor.shape)}"
                )


def _check_degrees(degrees: Any, features: int) -> None:
    if not isinstance(degrees, (list, tuple)) or not all(
        isinstance(layer, (list, tuple)) and all(type(d) is int for d in layer) for layer in degrees
    ):
        raise TypeError(
            f"{_OP}: `degrees` must be a sequence of sequences of integers, one for each hidden "
            f"layer, got {degrees!r:.60}"
        )
    for layer in degrees:
        if any(a > b for a, b in pairwise((0, *layer, max(features - 1, 0)))):
            raise ValueError(
                f"{_OP}: `degrees` must ascend in each layer, from 0 to {features - 1} at "
                f"most, got {layer!r:.60}"
            )


def _check_input_order(input_order: Any, features: int) -> None:
    is_ints = isinstance(input_order, (list, tuple, range)) and all(
        type(d) is int for d in input_order
    )
    if not is_ints or sorted(input_order) != list(range(features)):
        raise ValueError(
            f"{_OP}: `input_order` must hold each of 0, ..., {features - 1} once, got "
            f"{input_order!r:.60}"
        )


def _context_features(z: Any, context: Any) -> int:
    check_floating(_OP, "context", context)
    if isinstance(z, Tensor):
        _check_like("context", context, z)
    if context.ndim == 0:
        raise ValueError(f"{_OP}: `context` must have shape (*batch, c), got a scalar")
    features: int = context.shape[-1]
    return features


def _check_like(name: str, tensor: Any, z: Tensor) -> None:
    if not isinstance(tensor, Tensor) or tensor.dtype not in SUPPORTED:
        check_floating(_OP, name, tensor)
    if tensor.layout != torch.strided:
        check_floating(_OP, name, tensor)
    if tensor.device != z.device:
        raise ValueError(
            f"{_OP}: `{name}` must be on the device of `z` ({z.device}), got {tensor.device}"
        )
    if (tensor.dtype == torch.float64) != (z.dtype == torch.float64):
        raise TypeError(
            f"{_OP}: `{name}` must have the dtype of `z` ({z.dtype}) or both be of at most "
            f"float32, got {tensor.dtype}"
        )


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()


def _offset(z: Tensor, weight: Tensor, bias: Tensor, context: Tensor | None) -> Tensor:
    """What the first layer adds for each row: its bias, and the context's share."""
    batch = z.shape[:-1]
    if context is None:
        return _wide(bias).expand(*batch, bias.shape[0])
    own = common_batch(_OP, [("z", batch), ("context", context.shape[:-1])])
    if own != batch:
        raise ValueError(
            f"{_OP}: the batch of `context` {tuple(context.shape[:-1])} must broadcast to that of "
            f"`z` {tuple(batch)}"
        )
    of_context = weight[:, z.shape[-1] :]
    with _without_autocast(z.device.type):
        offset = linear(_wide(context), _wide(of_context), _wide(bias))
    return offset.expand(*batch, bias.shape[0])


# ---- the op --------------------------------------------------------------------------------


def _network(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    rows, hidden = size
    layers = []
    for width_in, width_out in pairwise((6, hidden, hidden, 12)):
        weight = torch.randn((width_out, width_in), dtype=torch.float64) / max(width_in, 1) ** 0.5
        layers += [weight / 2, torch.randn(width_out, dtype=torch.float64) / 2]
    return torch.randn((rows, 6), dtype=torch.float64), *layers


def _degrees(size: tuple[int, ...]) -> dict[str, Any]:
    hidden = size[1] if len(size) > 1 else 0
    layer = tuple(1 + i * 5 // hidden for i in range(hidden))
    return {"degrees": (layer, layer)}


@public(
    _OP,
    usage=f"{_OP}(z, weights, biases, degrees=degrees)",
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
    plain = context is None and _fits(z, weights, biases, degrees)
    if not plain:
        extra = 0 if context is None else _context_features(z, context)
        _check_layers(z, weights, biases, degrees, extra)
    features = z.shape[-1]
    if input_order is None:
        input_order = range(features)
    elif not plain or type(input_order) is not tuple:
        _check_input_order(input_order, features)
    first = weights[0][:, :features]
    pieces = [first.reshape(first.numel())]
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        pieces += [weight.reshape(weight.numel()), bias]
    try:
        out: tuple[Tensor, Tensor] = _inverse(
            z, _offset(z, weights[0], biases[0], context), torch.cat(pieces),
            [len(layer) for layer in degrees], list(chain.from_iterable(degrees)),
            list(input_order), scale_fn, bound, layout, order,
        )  # fmt: skip
    except (TypeError, ValueError):
        _check_degrees(degrees, features)  # the kernels' errors know them in one list
        _check_input_order(input_order, features)
        raise
    return out
