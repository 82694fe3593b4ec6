"""Calls of ops: what each allocates and launches, worked out once for its kind.

A kind of call is an op with its options and the shapes, strides, dtypes and devices of its
tensors.  Arguments are checked, blocks chosen and strides analysed at the first call of a kind;
a later one looks its kind up, allocates and launches.

Under torch.compile sizes may be symbolic: nothing is kept, and launches go into the graph.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor
from triton.compiler import CompiledKernel

from .rows import Rows

LIMIT = 1024  # kinds of calls kept for each op
# Versions of Triton whose compiled kernels take the arguments that its launcher hands them
# (tests/triton/test_launched.py compares the two); others are left to the launcher.
BINDABLE = {(3, 6), (3, 7)}

_VERSION = tuple(int(part) for part in triton.__version__.split(".")[:2])


class _State(threading.local):
    tracing = False


_state = _State()
_lock = threading.Lock()
_planned: list[Planned] = []


@contextmanager
def into_graph() -> Iterator[None]:
    """Kernels launched inside become nodes of the graph being traced."""
    _state.tracing = True
    try:
        yield
    finally:
        _state.tracing = False


def tracing() -> bool:
    """Whether launches go into a graph."""
    return _state.tracing


Step = Callable[[Tensor], Tensor] | None


def _by_step(steps: Sequence[Step] | None) -> Callable[[Any, list[Tensor]], Any] | None:
    wanted = [(i, step) for i, step in enumerate(steps or ()) if step]
    if not wanted:
        return None

    def finish(_: Any, outputs: list[Tensor]) -> tuple[Tensor, ...]:
        for i, step in wanted:
            outputs[i] = step(outputs[i])
        return tuple(outputs)

    return finish


def sum_to(shape: Sequence[Any], dtype: torch.dtype, like: Tensor) -> Step:
    """What makes the gradient of `like` of one of a broadcast shape."""
    target, wanted = like.shape, like.dtype
    if tuple(shape) == tuple(target):
        return None if dtype == wanted else lambda grad: grad.to(wanted)
    return lambda grad: grad.sum_to_size(target).to(wanted)


def _absent() -> None:
    """Stands for an output that is not there."""


def _maker(shape: Sequence[Any], dtype: torch.dtype, device: torch.device) -> Callable[[], Tensor]:
    """Allocates a contiguous tensor; with its strides at hand that takes half as long."""
    size = tuple(shape)
    if tracing():
        return partial(torch.empty, size, dtype=dtype, device=device)
    strides = torch.empty(size, device="meta").stride()
    return partial(torch.empty_strided, size, strides, dtype=dtype, device=device)


def sum_of_programs(programs: Any, dtype: torch.dtype, like: Tensor) -> tuple[Any, Step]:
    """(shape, step) of a gradient that all rows share: each program's sum, and their sum."""
    wanted = like.dtype
    if programs == 1:
        return like.shape, None if dtype == wanted else lambda grad: grad.to(wanted)
    if dtype == wanted:
        return (programs, *like.shape), lambda grads: grads.sum(0)
    return (programs, *like.shape), lambda grads: grads.sum(0).to(wanted)


class Call:
    """A kernel with all of its arguments but the tensors, and the tensors it returns.

    kernel      takes inputs, tables, outputs, numbers and constants in this order
    programs    how many of them run
    like        a tensor of the device
    inputs      the op's tensors as rows
    outputs     shapes and dtypes of what is allocated; None for what this kind has no use for
    numbers     integers, the same for all calls of a kind
    constants   compile-time arguments and options
    tables      tensors that the op keeps on the device
    value_of    the index of a tensor whose value, read for each call, is the first number
    zero_of     the index of a tensor whose gradient, the last result, is 0
    finish      makes the op's results of its tensors and the outputs: one step for each output, or
                a function of all
    """

    __slots__ = (
        "bound", "constants", "device", "finish", "kernel", "loads", "makes", "numbers",
        "programs", "start", "tables", "value_of", "zero_of",
    )  # fmt: skip

    def __init__(
        self,
        kernel: Any,
        programs: Any,
        like: Tensor,
        *,
        inputs: Sequence[Rows | None],
        outputs: Sequence[tuple[Sequence[Any], torch.dtype] | None],
        numbers: tuple[Any, ...],
        constants: dict[str, Any],
        tables: tuple[Tensor | None, ...] = (),
        value_of: int | None = None,
        zero_of: int | None = None,
        finish: Sequence[Step] | Callable[[Sequence[Tensor], list[Tensor]], Any] | None = None,
    ) -> None:
        self.kernel, self.programs = kernel, programs
        self.numbers, self.tables = numbers, tables
        self.value_of, self.zero_of = value_of, zero_of
        self.finish = finish if callable(finish) else _by_step(finish)
        loads = [rows.load if rows else None for rows in inputs]
        self.loads = loads if any(loads) else None
        self.device = like.device.index if like.is_cuda else None
        self.bound: Bound | None = None
        self.start: Any = None
        self.makes: list[Callable[[], Any]] = [
            _maker(*output, like.device) if output else _absent for output in outputs
        ]
        if tracing():
            self.constants = constants
        else:
            # Contraction of a * b + c: every kernel is right either way, and faster with it.
            self.constants = {**constants, "enable_fp_fusion": True}
            self.start = kernel[(programs,)]

    def __call__(self, tensors: Sequence[Tensor]) -> Any:
        """The op's results."""
        outputs: list[Any] = [make() for make in self.makes]
        given: Sequence[Any] = tensors
        if self.loads is not None:
            given = [load(t) if load else t for t, load in zip(tensors, self.loads, strict=True)]
        if self.value_of is None:
            launch(self, (*given, *self.tables, *outputs))
        else:
            launch(self, (*given, *self.tables, *outputs, tensors[self.value_of].item()))
        if self.zero_of is not None:
            outputs.append(torch.zeros_like(tensors[self.zero_of]))
        if self.finish is not None:
            return self.finish(tensors, outputs)
        return outputs[0] if len(outputs) == 1 else tuple(outputs)


class Bound:
    """A compiled kernel with its arguments, but for pointers that are multiples of 16 bytes.

    What a kernel is compiled for follows from the kind of call and from which pointers are such
    multiples.  Where all are, as nearly always, the kernel that Triton's launcher found at the
    first call serves the later ones, which is most of what that launcher costs.
    """

    __slots__ = ("last", "pointers", "run")

    def __init__(self, call: Call, compiled: Any, first: tuple[Any, ...]) -> None:
        given = len(first) + len(call.numbers)
        constants = [call.constants[name] for name in call.kernel.arg_names[given:]]
        self.run, self.last = compiled[(call.programs, 1, 1)], (*call.numbers, *constants)
        self.pointers = [i for i, value in enumerate(first) if isinstance(value, Tensor)]

    def fits(self, first: tuple[Any, ...]) -> bool:
        """Whether the kernel is the one for these arguments."""
        bits = 0
        for i in self.pointers:
            bits |= first[i].data_ptr()
        return bits & 15 == 0


def _bind(call: Call, compiled: Any, first: tuple[Any, ...]) -> Bound | None:
    """What later calls start, where it is known to be the same.

    On AMD's GPUs a kernel is compiled for the sizes of storages, too, which no kind tells.
    """
    if (
        _VERSION not in BINDABLE
        or not isinstance(compiled, CompiledKernel)
        or compiled.metadata.target.backend != "cuda"
        or call.kernel.pre_run_hooks
    ):
        return None
    bound = Bound(call, compiled, first)
    return bound if bound.fits(first) else None


def _start(call: Call, first: tuple[Any, ...]) -> None:
    if call.bound is not None and call.bound.fits(first):
        call.bound.run(*first, *call.bound.last)
        return
    compiled = call.start(*first, *call.numbers, **call.constants)
    if call.bound is None:
        call.bound = _bind(call, compiled, first)


def launch(call: Call, first: tuple[Any, ...]) -> None:
    """Runs the programs of a call, given the kernel's first arguments."""
    if call.programs == 0:
        return
    if call.start is None:
        kernel = torch.library.wrap_triton(call.kernel)[(call.programs,)]
        kernel(*first, *call.numbers, **call.constants)
    elif call.device is None or call.device == torch.cuda.current_device():
        _start(call, first)
    else:
        with torch.cuda.device(call.device):
            _start(call, first)


class Planned:
    """An op's function: `plan` of its arguments says what a kind of call does."""

    def __init__(self, plan: Callable[..., Call], tensors: int) -> None:
        self.plan, self.tensors = plan, tensors
        self.calls: dict[Any, Call] = {}
        self.__doc__ = plan.__doc__
        _planned.append(self)

    def __call__(self, *args: Any) -> Any:
        """The op's results; the options follow the tensors."""
        tensors = args[: self.tensors]
        if _state.tracing:
            return self.plan(*args)(tensors)
        # No function of its own: this is what a repeated call costs.
        kind = (
            args[self.tensors :],
            *[(t.shape, t.stride(), t.dtype, t.device) for t in tensors],
        )
        call = self.calls.get(kind)
        if call is None:
            call = self.plan(*args)
            with _lock:
                if len(self.calls) >= LIMIT:
                    self.calls.clear()
                self.calls[kind] = call
        return call(tensors)


def planned(tensors: int) -> Callable[[Callable[..., Call]], Planned]:
    """Makes an op's function of a plan; its first arguments are `tensors` tensors."""
    return lambda plan: Planned(plan, tensors)


def forget() -> None:
    """Drops all calls that are kept."""
    for each in _planned:
        each.calls.clear()
