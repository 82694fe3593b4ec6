"""Makes the Triton kernels the implementation of the dispatcher's ops on a kind of device.

Each kernel is imported when it is first called.  Under torch.compile the ops are
decomposed into their kernels (as `torch.library.triton_op` does with an op that it
defines itself), so that the compiler sees allocations and launches; torch.export
keeps the ops whole, because a program must not hold kernels of one backend.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode

from .engine.refuse import remember

# op of the dispatcher: module of this package and the names of its functions, the second that of
# `<op>_backward` where there is one.
OPS = {
    "affine_coupling": ("affine_coupling", "forward", "backward"),
    "bessel": ("bessel", "forward", "backward"),
    "bessel_order": ("bessel_order", "forward", "backward"),
    "log_det_diagonal": ("log_det", "forward", "backward"),
    "slerp": ("slerp", "forward", "backward"),
    "stereographic": ("stereographic", "forward", "backward"),
    "stereographic_inverse": ("stereographic", "inverse_forward", "inverse_backward"),
    "tangent_normal": ("tangent_normal", "forward", "backward"),
    "vmf_log_prob": ("vmf", "forward", "backward"),
    "stereographic_vmf_log_prob": ("vmf", "latent_forward", "latent_backward"),
    "vmf_sample_cosine": ("vmf_sample", "forward"),
}
# A plan is memory of the device made at the first call, which a graph must not make anew
# each time: torch.compile keeps these ops whole.
WHOLE = (
    "bessel",
    "bessel_order",
    "vmf_log_prob",
    "stereographic_vmf_log_prob",
    "vmf_sample_cosine",
)

_LIBRARY = torch.library.Library("flowkernels", "IMPL")


def _lazy(module: str, function: str) -> Callable[..., Any]:
    """`function`, imported by its first call."""
    loaded: Callable[..., Any] | None = None

    def call(*args: Any) -> Any:
        nonlocal loaded
        if loaded is None:
            loaded = getattr(importlib.import_module(f"{__package__}.{module}"), function)
        return loaded(*args)

    return call


def _decomposition(implementation: Callable[..., Any]) -> Callable[..., Any]:
    """The rule by which AOTAutograd sees through an op on the GPU."""

    def rule(mode: Any, op: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from torch.export._trace import custom_triton_ops_decomposition_disabled

        from .engine.calls import into_graph

        on_gpu = all(a.is_cuda for a in args if isinstance(a, torch.Tensor))
        plain = all(t in (torch.Tensor, FunctionalTensor) for t in types)
        if not on_gpu or not plain or custom_triton_ops_decomposition_disabled():
            return mode.__torch_dispatch__(op, types, args, kwargs)
        with mode, into_graph():
            return implementation(*args)

    return rule


def register(*keys: str) -> None:
    """Puts every kernel under dispatch keys: CUDA, and CPU for the interpreter."""
    for op, (module, *functions) in OPS.items():
        for name, function in zip((op, f"{op}_backward"), functions, strict=False):
            remember(name)
            implementation = _lazy(module, function)
            for key in keys:
                with warnings.catch_warnings():  # the CPU has kernels already
                    warnings.simplefilter("ignore")
                    _LIBRARY.impl(name, implementation, key)
            if op not in WHOLE:
                torch.library.register_torch_dispatch(
                    f"flowkernels::{name}", FunctionalTensorMode, _decomposition(implementation)
                )
