"""A device of a plug-in, "elsewhere", whose tensors hold tensors of the CPU.

It is what torch calls a privateuse1 backend. All ops of torch run there, on what the tensors hold,
by one fallback; views are copies, which is enough for what computes out of place.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"


class Elsewhere(Tensor):
    """A tensor on the device."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # results keep their own class


def put(held: Tensor) -> Tensor:
    """A tensor of the CPU on the device."""
    out = torch._C._acc.create_empty_tensor(tuple(held.shape), held.dtype)
    out.__class__ = Elsewhere
    out.held = held.detach().contiguous()  # type: ignore[attr-defined]
    return out


def got(value: Any) -> Any:
    """The same on the CPU; also a device."""
    if isinstance(value, Elsewhere):
        return value.held
    if isinstance(value, torch.device) and value.type == NAME:
        return torch.device("cpu")
    return value


def _fallback(op: Any, *args: Any, **kwargs: Any) -> Any:
    to = kwargs.get("device")
    if str(op).startswith("aten._to_copy") and to is not None and to.type == "cpu":
        return op(*tree_map(got, args), **tree_map(got, kwargs))
    out = op(*tree_map(got, args), **tree_map(got, kwargs))
    return tree_map(lambda o: put(o) if isinstance(o, Tensor) else o, out)


def _overload(name: str) -> Any:
    """The op of a name of the dispatcher."""
    base, _, overload = name.removeprefix("aten::").partition(".")
    return getattr(getattr(torch.ops.aten, base), overload or "default")


def install() -> list[torch.library.Library]:
    """Registers the device; the result must be kept."""
    _setup_privateuseone_for_python_backend(NAME)
    rest, own = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
    rest.fallback(_fallback, "PrivateUse1")
    # torch's own implementations for any device, which look into the memory that is not there.
    keys = ("CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")
    for name in torch._C._dispatch_get_all_op_names():
        if not name.startswith("aten::"):
            continue
        if any(torch._C._dispatch_has_kernel_for_dispatch_key(name, key) for key in keys):
            own.impl(name, functools.partial(_fallback, _overload(name)), "PrivateUse1")
    return [rest, own]
