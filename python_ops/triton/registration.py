"""Makes the Triton kernels the implementation of the dispatcher's ops on a kind of device.

Each kernel is imported when it is first called.  Under torch.compile the ops are
decomposed into their kernels (as `torch.library.triton_op` does with an op that it
defines itself), so that the compiler sees allocations and launches; torch.export
keeps the ops whole, because a program must not hold kernels of one backend.
"""

from __future__ import annotations

import importlib
import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch._subclasses.functional_tensor import FunctionalTensor, FunctionalTensorMode

from .._declaration import OPS as DECLARED
from .engine.refuse import remember


def _module_of(op: str) -> str:
    """The module of an op's kernels: the one of its name, or else that of its family."""
    own = importlib.util.find_spec(f"{__package__}.{op}")
    return op if own is not None else DECLARED[op].family


# op of the dispatcher: the module that has the functions `<op>` and, if declared, `<op>_backward`.
OPS = {op: _module_of(op) for op, declared in DECLARED.items()
       if declared.kernels and not declared.cpu_only}  # fmt: skip
# torch.compile keeps these ops whole.
WHOLE = tuple(op for op in OPS if DECLARED[op].whole)

_LIBRARY = torch.library.Library("flowkernels", "IMPL")


def _lazy(module: str, function: str) -> Callable[..., Any]:
    """A function of a module, imported by its first call."""
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
    for op, module in OPS.items():
        for name in (op, f"{op}_backward") if DECLARED[op].backward else (op,):
            remember(name)
            implementation = _lazy(module, name)
            for key in keys:
                with warnings.catch_warnings():  # the CPU has kernels already
                    warnings.simplefilter("ignore")
                    _LIBRARY.impl(name, implementation, key)
            if not DECLARED[op].whole:
                torch.library.register_torch_dispatch(
                    f"flowkernels::{name}", FunctionalTensorMode, _decomposition(implementation)
                )
