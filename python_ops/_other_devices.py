"""Devices without kernels: the formulas in plain torch serve there, and say so once.

Kernels exist for the CPU and for GPUs under torch's name "cuda" (NVIDIA and AMD). On "mps", "xpu",
a device of a plug-in, or a GPU for which nothing was built, each op runs its formula
(`flowkernels.ops.composite`): the same results and derivatives, at the speed of plain torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._errors import check_types

Function = Callable[..., Any]

# Of devices without float64, where formulas that need it run on the CPU, by the kernels.
WITHOUT_FLOAT64 = {"mps"}
IN_FLOAT64 = {
    "bessel", "bessel_order", "tangent_normal", "vmf_mixture_log_prob", "vmf_mixture_statistics",
    "vmf_sample_cosine",
}  # fmt: skip
_warned: set[tuple[str, str]] = set()


def _device_of(args: tuple[Any, ...]) -> torch.device:
    """The first tensor's that is not on the CPU: numbers may be there."""
    tensors = [a for a in args if isinstance(a, Tensor)]
    return next((t.device for t in tensors if not t.is_cpu), tensors[0].device)


def _public_name(name: str, args: tuple[Any, ...]) -> str:
    """The op as users call it."""
    op = str(args[-1]) if name.startswith("bessel") else name
    for suffix in ("_backward", "_relative", "_complement", "_slope", "_cosine"):
        op = op.removesuffix(suffix)
    return op


def _warn(op: str, device: str, served: str) -> None:
    if (op, device) in _warned:
        return
    _warned.add((op, device))
    reason = "only for cpu and cuda tensors"
    if device == "cuda":
        from ._backends import gpu_problem

        reason = f"{gpu_problem()}; pip install 'flowkernels[triton]' brings some"
    warnings.warn(
        f"{op}: flowkernels has no kernels for {device} tensors ({reason}). {served}",
        stacklevel=4,
    )


def _through_the_cpu(name: str, device: torch.device, args: tuple[Any, ...]) -> Any:
    """The op on copies of its arguments, for a device that has no float64."""
    served = "The op needs float64, which they do not have: it runs on the CPU, with two copies"
    _warn(_public_name(name, args), device.type, served)
    op = getattr(torch.ops.flowkernels, name).default
    out = op(*(a.cpu() if isinstance(a, Tensor) else a for a in args))
    outputs = out if isinstance(out, tuple) else (out,)
    if any(o.dtype == torch.float64 for o in outputs):
        raise NotImplementedError(
            f"{name}: its results are float64, which {device.type} tensors cannot be; call it with "
            "the arguments on the CPU (x.cpu())"
        )
    back = tuple(o.to(device) for o in outputs)
    return back if isinstance(out, tuple) else back[0]


def elsewhere(name: str, check: Function, formula: Function, numbers: tuple[str, ...]) -> Function:
    """Op `name` where it has no kernels; `check` refuses what the kernels would refuse.

    `numbers` are the arguments that may be numbers.
    """

    def on_other_devices(*args: Any) -> Any:
        check_types(name, name, args, numbers, {})  # torch also takes None for a tensor
        check(*args)
        device = _device_of(args)
        if device.type == "cpu":  # of a layout that no kernel takes
            raise NotImplementedError(f"{name}: takes dense tensors only")
        if device.type in WITHOUT_FLOAT64 and name.removesuffix("_backward") in IN_FLOAT64:
            return _through_the_cpu(name, device, args)
        served = "Plain torch computes the op there, more slowly than kernels would"
        _warn(_public_name(name, args), device.type, served)
        return formula(*args)

    return on_other_devices
