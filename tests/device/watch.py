"""Raises on host synchronizations and on copies between host and device.

Neither can be captured in a CUDA graph. The tensors are fake: they have shapes, dtypes and
devices, but no values, so the checks need no GPU and little time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Ops whose result's value or shape the host reads from the device.
READS = {
    "_linalg_check_errors",
    "_local_scalar_dense",
    "_unique",
    "_unique2",
    "allclose",
    "bincount",
    "equal",
    "is_nonzero",
    "item",
    "masked_select",
    "nonzero",
    "nonzero_numpy",
    "unique_consecutive",
    "unique_dim",
}
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index"}
MASKS = (torch.bool, torch.uint8)

# Arguments that may be a 0-d tensor on the CPU: its value is passed as a kernel argument.
NUMBERS = {"flowkernels::slerp": "t", "flowkernels::slerp_backward": "t"}
# The one exception: a gradient must be on the device of its tensor.
INHERENT = {
    "flowkernels::slerp_backward": "the gradient of a `t` on the CPU is copied there from the GPU"
}


DEVICE = torch.ops.prim.device.default


class Refused(AssertionError):
    """A step would synchronise with the device or copy to or from it."""


class Uncompiled:
    """A mode around which torch need not keep its compiler away, call by call: none runs here."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class Watch(Uncompiled, TorchDispatchMode):
    """Raises on reads of values and copies between devices; `inherent` lists allowed ones."""

    def __init__(self) -> None:
        super().__init__()
        self.inherent: list[str] = []

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        on_device = [t for t in given if not t.is_cpu]
        name = func._schema.name
        short = name.rpartition("::")[2]
        if on_device and (short in READS or self._by_mask(short, args, kwargs)):
            raise Refused(f"{func} reads a value from the device")
        for t in given if on_device else []:
            if t.is_cpu and t.ndim:
                raise Refused(f"{func} copies a tensor of shape {tuple(t.shape)} to the device")
        if name.startswith("flowkernels::") and on_device:
            self._numbers(func, name, args)
        out = func(*args, **kwargs)
        devices = {t.device.type for t in tree_leaves(out) if isinstance(t, Tensor)}
        if short in ("_to_copy", "copy_", "copy", "_copy_from"):
            source = args[0 if short == "_to_copy" else 1]
            if isinstance(source, Tensor) and devices != {source.device.type}:
                raise Refused(f"{func} copies from {source.device.type} to {devices.pop()}")
        return out

    @staticmethod
    def _by_mask(short: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        if short == "repeat_interleave":
            return kwargs.get("output_size") is None
        if short not in INDEXING:
            return False
        return any(isinstance(i, Tensor) and i.dtype in MASKS for i in args[1])

    def _numbers(self, func: Any, name: str, args: tuple[Any, ...]) -> None:
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if isinstance(value, Tensor) and value.is_cpu:
                if argument.name != NUMBERS.get(name):
                    raise Refused(f"{name} gets `{argument.name}` on the CPU")
                if name in INHERENT and value.requires_grad:
                    self.inherent.append(name)


# A torch op that lacks a meta kernel.
_SHAPES = torch.library.Library("aten", "IMPL", "Meta")
_SHAPES.impl("_standard_gamma_grad", lambda concentration, sample: torch.empty_like(sample))


class _NoGenerator:
    """Replaces the GPU's random state, which a CPU build of torch does not have."""

    @staticmethod
    def get_rng_state(device: Any = "cuda") -> Tensor:
        return torch.get_rng_state()

    @staticmethod
    def set_rng_state(state: Tensor, device: Any = "cuda") -> None:
        pass


# Not in the mode, which torch copies with its tensors: a lock cannot be copied.
_ONE_AT_A_TIME = threading.RLock()


class OneAtATime(Uncompiled, FakeTensorMode):
    """A fake mode that several threads may use.

    Autograd runs the backward of each device in a thread of its own, and a fake mode notes in
    itself, not per thread, that it is inside a kernel.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=False)

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is DEVICE:  # four of five calls
            return args[0].fake_device
        with _ONE_AT_A_TIME:
            return self.dispatch(func, types, args, kwargs or {})


@contextmanager
def fake_device() -> Iterator[None]:
    """A context in which tensors on "cuda" are fake."""
    with (
        OneAtATime(),
        mock.patch("torch.cuda.get_rng_state", _NoGenerator.get_rng_state),
        mock.patch("torch.cuda.set_rng_state", _NoGenerator.set_rng_state),
        mock.patch("torch.cuda.is_current_stream_capturing", return_value=False),
        # Autocast checks that a GPU is present.
        mock.patch("torch.cuda.amp.common.amp_definitely_not_available", return_value=False),
        mock.patch("torch.cuda.is_bf16_supported", return_value=True),
    ):
        yield


@contextmanager
def watched() -> Iterator[Watch]:
    """A context that simulates graph capture: no reads, no copies, no generator state."""

    def refused(*_: Any) -> Any:
        raise Refused("the generator's state cannot be read during graph capture")

    with (
        mock.patch("torch.cuda.is_current_stream_capturing", return_value=True),
        mock.patch("torch.cuda.get_rng_state", refused),
        mock.patch("torch.cuda.set_rng_state", refused),
        Watch() as watch,
    ):
        yield watch


def to_device(module: nn.Module) -> nn.Module:
    """The module with parameters and buffers on the fake device, without their values."""
    for part in module.modules():
        for name, p in part._parameters.items():
            if p is not None:
                part._parameters[name] = nn.Parameter(like(p), p.requires_grad)
        for name, b in part._buffers.items():
            if b is not None:
                part._buffers[name] = like(b)
        if hasattr(part, "_bind"):  # the module also stores its buffers elsewhere
            part._bind()
    return module


def like(t: Tensor) -> Tensor:
    """An empty tensor on the fake device."""
    return torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device="cuda")
