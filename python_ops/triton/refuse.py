"""Refusing bad arguments in the words of the compiled floor.

The Triton floor decides by a few comparisons whether it can run.  Where it cannot, the
compiled CPU kernel is called on stand-ins without memory, so that each message is
written once, in csrc/bindings.
"""

from __future__ import annotations

from typing import Any, NoReturn

import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

# Taken before anything replaces it: under the interpreter the Triton floor is the CPU's.
_compiled: dict[str, Any] = {}
_CPU = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)


def remember(op: str) -> None:
    """Keeps the compiled CPU kernel of `op`, which knows what to say."""
    _compiled.setdefault(op, torch.library.get_kernel(f"flowkernels::{op}", "CPU"))


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
        torch.empty((), dtype=a.dtype).expand(a.shape) if isinstance(a, Tensor) else a for a in args
    ]
    _compiled[op].call_boxed(_CPU, *stand_ins)
    raise RuntimeError(f"{op}: the Triton floor cannot run what the compiled one accepts")
