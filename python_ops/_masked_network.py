"""The layers of a masked network: what is wrong with them, and their parameters in one vector."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import chain, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear

from ._broadcast import common_batch
from ._errors import SUPPORTED, check_floating


class Flat(NamedTuple):
    """A network as the dispatcher's ops take it: csrc/bindings/autoregressive.h has the fields."""

    offset: Tensor
    parameters: Tensor
    hidden: list[int]
    degrees: list[int]
    input_order: list[int]


def flat_network(
    op: str, outputs: int, z: Any, weights: Any, biases: Any, degrees: Any, context: Any,
    input_order: Any,
) -> Flat:  # fmt: skip
    """The network of `outputs` outputs a feature; errors begin with `op`."""
    plain = context is None and _fits(outputs, z, weights, biases, degrees)
    if not plain:
        extra = 0 if context is None else _context_features(op, z, context)
        _check_layers(op, outputs, z, weights, biases, degrees, extra)
    features = z.shape[-1]
    if input_order is None:
        input_order = range(features)
    elif not plain or type(input_order) is not tuple:
        check_input_order(op, input_order, features)
    first = weights[0][:, :features]
    pieces = [first.reshape(first.numel())]
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        pieces += [weight.reshape(weight.numel()), bias]
    return Flat(
        _offset(op, z, weights[0], biases[0], context), torch.cat(pieces),
        [len(layer) for layer in degrees], list(chain.from_iterable(degrees)), list(input_order),
    )  # fmt: skip


def _fits(outputs: int, z: Any, weights: Any, biases: Any, degrees: Any) -> bool:
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
    widths = [*map(len, degrees), outputs * before]
    if not len(weights) == len(biases) == len(widths):
        return False
    for weight, bias, width in zip(weights, biases, widths, strict=True):
        if weight.dtype is not dtype or bias.dtype is not dtype:
            return False
        if weight.layout is not torch.strided or bias.layout is not torch.strided:
            return False
        if weight.shape != (width, before) or bias.shape != (width,):
            return False
        before = width
    return True


def _check_layers(
    op: str, outputs: int, z: Tensor, weights: Any, biases: Any, degrees: Any, extra: int
) -> None:
    """Raises what is wrong with the layers of a network."""
    check_floating(op, "z", z)
    if z.ndim == 0:
        raise ValueError(f"{op}: `z` must have shape (*batch, features), got a scalar")
    for name, value in (("weights", weights), ("biases", biases)):
        if not isinstance(value, (list, tuple)):
            kind = type(value).__name__
            raise TypeError(f"{op}: `{name}` must be a sequence of torch.Tensors, got {kind}")
    check_degrees(op, degrees, z.shape[-1])
    widths = (z.shape[-1], *(len(layer) for layer in degrees), outputs * z.shape[-1])
    for name, value in (("weights", weights), ("biases", biases)):
        if len(value) != len(widths) - 1:
            raise ValueError(
                f"{op}: `{name}` must hold {len(widths) - 1} tensors, one for each of the "
                f"{len(degrees)} layers of `degrees` and one for the outputs, got {len(value)}"
            )
    for i, (width_in, width_out) in enumerate(pairwise(widths)):
        shape = (width_out, width_in + (0 if i else extra))
        for name, tensor, wanted in (
            (f"weights[{i}]", weights[i], shape), (f"biases[{i}]", biases[i], shape[:1]),
        ):  # fmt: skip
            _check_like(op, name, tensor, z)
            if tensor.shape != wanted:
                raise ValueError(
                    f"{op}: `{name}` must have shape {wanted}, got {tuple(tensor.shape)}"
                )


def check_degrees(op: str, degrees: Any, features: int) -> None:
    if not isinstance(degrees, (list, tuple)) or not all(
        isinstance(layer, (list, tuple)) and all(type(d) is int for d in layer) for layer in degrees
    ):
        raise TypeError(
            f"{op}: `degrees` must be a sequence of sequences of integers, one for each hidden "
            f"layer, got {degrees!r:.60}"
        )
    for layer in degrees:
        if any(a > b for a, b in pairwise((0, *layer, max(features - 1, 0)))):
            raise ValueError(
                f"{op}: `degrees` must ascend in each layer, from 0 to {features - 1} at "
                f"most, got {layer!r:.60}"
            )


def check_input_order(op: str, input_order: Any, features: int) -> None:
    is_ints = isinstance(input_order, (list, tuple, range)) and all(
        type(d) is int for d in input_order
    )
    if not is_ints or sorted(input_order) != list(range(features)):
        raise ValueError(
            f"{op}: `input_order` must hold each of 0, ..., {features - 1} once, got "
            f"{input_order!r:.60}"
        )


def _context_features(op: str, z: Any, context: Any) -> int:
    check_floating(op, "context", context)
    if isinstance(z, Tensor):
        _check_like(op, "context", context, z)
    if context.ndim == 0:
        raise ValueError(f"{op}: `context` must have shape (*batch, c), got a scalar")
    features: int = context.shape[-1]
    return features


def _check_like(op: str, name: str, tensor: Any, z: Tensor) -> None:
    if not isinstance(tensor, Tensor) or tensor.dtype not in SUPPORTED:
        check_floating(op, name, tensor)
    if tensor.layout != torch.strided:
        check_floating(op, name, tensor)
    if tensor.device != z.device:
        raise ValueError(
            f"{op}: `{name}` must be on the device of `z` ({z.device}), got {tensor.device}"
        )
    if (tensor.dtype == torch.float64) != (z.dtype == torch.float64):
        raise TypeError(
            f"{op}: `{name}` must have the dtype of `z` ({z.dtype}) or both be of at most "
            f"float32, got {tensor.dtype}"
        )


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _without_autocast(device: str) -> AbstractContextManager[Any]:
    on = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if on else nullcontext()


def _offset(op: str, z: Tensor, weight: Tensor, bias: Tensor, context: Tensor | None) -> Tensor:
    """What the first layer adds for each row: its bias, and the context's share."""
    batch = z.shape[:-1]
    if context is None:
        return _wide(bias).expand(*batch, bias.shape[0])
    own = common_batch(op, [("z", batch), ("context", context.shape[:-1])])
    if own != batch:
        raise ValueError(
            f"{op}: the batch of `context` {tuple(context.shape[:-1])} must broadcast to that of "
            f"`z` {tuple(batch)}"
        )
    of_context = weight[:, z.shape[-1] :]
    with _without_autocast(z.device.type):
        offset = linear(_wide(context), _wide(of_context), _wide(bias))
    return offset.expand(*batch, bias.shape[0])
