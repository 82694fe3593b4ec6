"""Refuses bad arguments with the messages of the compiled kernels.

A few comparisons decide whether the Triton kernel can run.  Where it cannot, the compiled CPU
kernel is called on small tensors of the same shapes and dtypes, so that each message is written
once, in csrc/bindings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

# Taken before anything replaces it: under the interpreter Triton's kernels serve the CPU.
_compiled: dict[str, Any] = {}
_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)


def remember(op: str) -> None:
    """Keeps the compiled CPU kernel of `op`, which knows what to say."""
    _compiled.setdefault(op, torch.library.get_kernel(f"flowkernels::{op}", "CPU"))


def compiled(op: str) -> Any:
    """The compiled CPU kernel of `op`, whatever serves the CPU now."""
    return lambda *args: _compiled[op].call_boxed(_CPU, *args)


def wide_of(dtype: torch.dtype) -> torch.dtype:
    """The dtype of log-dets and densities of inputs of `dtype`: at least float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_gradients(
    op: str,
    gradients: Sequence[Tensor],
    outputs: Sequence[tuple[Sequence[int], torch.dtype]],
    *args: Any,
) -> None:
    """Refuses gradients that lack the shape or dtype of the op's `outputs`, or their device.

    `args` are those of the op, the first of them on the device of all outputs.
    """
    device = args[0].device
    for grad, (shape, dtype) in zip(gradients, outputs, strict=True):
        if grad.shape != torch.Size(shape) or grad.dtype != dtype or grad.device != device:
            refuse(f"{op}_backward", *gradients, *args)


def refuse(op: str, *args: Any) -> NoReturn:
    """Raises what is wrong with the arguments."""
    schema = getattr(torch.ops.flowkernels, op).default._schema
    tensors = [
        (a.name, t) for a, t in zip(schema.arguments, args, strict=True) if isinstance(t, Tensor)
    ]
    first, reference = tensors[0]
    for name, tensor in tensors[1:]:
        if tensor.device != reference.device:
            raise ValueError(
                f"{op}: `{name}` must be on the device of `{first}` ({reference.device}), "
                f"got {tensor.device}"
            )
    stand_ins = [
        torch.ones((), dtype=a.dtype).expand(a.shape) if isinstance(a, Tensor) else a for a in args
    ]
    compiled(op)(*stand_ins)
    raise RuntimeError(
        f"{op}: the Triton kernels cannot run arguments that the compiled kernels accept"
    )
