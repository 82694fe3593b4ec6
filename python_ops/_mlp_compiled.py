"""mlp under torch.compile: its CPU kernels as ops of the compiler's graph.

They are faster than the code that the compiler makes of the layers. `torch.export` keeps the
layers, so that an exported program does not depend on the processor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from ._extension import _C
from .composite.mlp import Activation

ACTIVATIONS: tuple[str, ...] = get_args(Activation)
WIDEST: int = _C.mlp_widest  # units of a layer that has kernels


def has_kernels(
    x: Any,
    weights: Any,
    biases: Any,
    options: tuple[Any, ...],
    coupled: Any = 0,
) -> bool:
    """Whether a compiler is tracing a network that the CPU's kernels take.

    It reads the channels of x but for those that are `coupled`.
    """
    if not torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return False
    if not (isinstance(x, Tensor) and x.ndim == 2 and x.device.type == "cpu"):
        return False
    if x.dtype not in (torch.float32, torch.float64) or torch.is_autocast_enabled("cpu"):
        return False
    activation, negative_slope, residual = options
    # What is no network, and options that do not exist, the op itself refuses.
    if activation not in ACTIVATIONS or not 0 < negative_slope <= 1:
        return False
    if not len(weights) == len(biases) > 0 or (residual and len(weights) % 2):
        return False
    width = x.shape[1] - coupled
    for weight, bias in zip(weights, biases, strict=True):
        if not (weight.ndim == 2 and weight.dtype == bias.dtype == x.dtype):
            return False
        if not 0 < weight.shape[1] == width <= WIDEST:
            return False
        width = weight.shape[0]
        if not (0 < width <= WIDEST and bias.shape == (width,)):
            return False
    return not residual or all(w.shape[0] == weights[0].shape[0] for w in weights[2:-1:2])


def _padded(x: Tensor, width: Any) -> Any:
    lanes = _C.mlp_lanes(x.dtype == torch.float64)
    return (width + lanes - 1) // lanes * lanes


def _rows(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    activation: str,
    negative_slope: float,
    residual: bool,
    keep: bool,
) -> tuple[Tensor, list[Tensor]]:
    kept = weights[1:] if keep else []
    hidden = [x.new_empty((x.shape[0], _padded(x, w.shape[1]))) for w in kept]
    return x.new_empty((x.shape[0], weights[-1].shape[0])), hidden


def _rows_backward(
    grad_y: Tensor, x: Tensor, hidden: Sequence[Tensor], weights: Sequence[Tensor], *_: Any
) -> list[Tensor]:
    of_biases = [w.new_empty(w.shape[:1]) for w in weights]
    return [x.new_empty(x.shape), *(w.new_empty(w.shape) for w in weights), *of_biases]


torch.library.register_fake("flowkernels::mlp_rows", _rows)
torch.library.register_fake("flowkernels::mlp_rows_backward", _rows_backward)
