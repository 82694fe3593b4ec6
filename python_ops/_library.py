"""What makes an op of its kernels: the Python half of csrc/bindings/autograd.h.

`register` gives an op its plain-torch formulas (for forward-mode and higher
derivatives), its shapes under torch.compile and its rule under torch.vmap;
`entry` is the function through which the public ops reach the dispatcher.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._backends import FORCED
from ._extension import _C

LIBRARY = torch.library.Library("flowkernels", "IMPL")

Function = Callable[..., Any]


def batched_first(value: Any, dim: int | None, size: int) -> Any:
    """A vmapped argument, its mapped dimension leading; what is not mapped is repeated."""
    if not isinstance(value, Tensor):
        return value
    if dim is None:
        return value.unsqueeze(0).expand(size, *value.shape)
    return value.movedim(dim, 0)


def leading_vmap(op: Function) -> Function:
    """The vmap rule of an op whose tensors all take further leading dimensions."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        size = info.batch_size
        out = op(*(batched_first(a, d, size) for a, d in zip(args, in_dims, strict=True)))
        return out, tuple(0 for _ in out) if isinstance(out, tuple) else 0

    return rule


def folding_vmap(op: Function) -> Function:
    """The vmap rule of an op with exactly one batch dimension: the two are folded."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        size = info.batch_size
        first = [batched_first(a, d, size) for a, d in zip(args, in_dims, strict=True)]
        rows = next(a.shape[1] for a in first if isinstance(a, Tensor))
        flat = [a.flatten(0, 1) if isinstance(a, Tensor) else a for a in first]
        out = tuple(o.reshape(size, rows, *o.shape[1:]) for o in op(*flat))
        return out, tuple(0 for _ in out)

    return rule


def _on_one_device(name: str, fake: Function, numbers: tuple[str, ...]) -> Function:
    """`fake`, refusing arguments that a real kernel could not read together.

    `numbers` may be 0-d on the CPU, whatever the device: their values travel with the launch.
    """
    names = [a.name for a in getattr(torch.ops.flowkernels, name).default._schema.arguments]

    def checked(*args: Any) -> Any:
        tensors = [(n, a) for n, a in zip(names, args, strict=False) if isinstance(a, Tensor)]
        first, reference = tensors[0]
        for argument, tensor in tensors[1:]:
            by_value = argument in numbers and tensor.ndim == 0 and tensor.is_cpu
            if tensor.device != reference.device and not by_value:
                raise ValueError(
                    f"{name}: `{argument}` must be on the device of `{first}` "
                    f"({reference.device}), got {tensor.device}"
                )
        return fake(*args)

    return checked


def _of_the_outputs(name: str, fake: Function, formula: Function) -> Function:
    """`formula` of a backward, refusing gradients that are not like the outputs of the op.

    The kernels check this themselves; in plain torch a wrong shape would broadcast in silence.
    """
    names = [
        a.name for a in getattr(torch.ops.flowkernels, f"{name}_backward").default._schema.arguments
    ]
    count = len(names) - len(getattr(torch.ops.flowkernels, name).default._schema.arguments)

    def checked(*args: Any) -> Any:
        outputs = fake(*args[count:])
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for argument, grad, output in zip(names, args, outputs, strict=False):
            for error, what, got, wanted in (
                (ValueError, "be on the device", grad.device, output.device),
                (TypeError, "have the dtype", grad.dtype, output.dtype),
                (ValueError, "have the shape", tuple(grad.shape), tuple(output.shape)),
            ):
                if got != wanted:
                    raise error(
                        f"{name}_backward: `{argument}` must {what} of the op's output "
                        f"({wanted}), got {got}"
                    )
        return formula(*args)

    return checked


def register(
    name: str,
    *,
    reference: Function,
    backward_reference: Function,
    fake: Function,
    fake_backward: Function,
    vmap: Callable[[Function], Function] = leading_vmap,
    numbers: tuple[str, ...] = (),
) -> None:
    """Completes op `name`; all functions take the arguments of the dispatcher's schema.

    reference           the definition, in plain torch
    backward_reference  its backward, f_backward(grads..., args...), in plain torch
    fake, fake_backward empty results of the right shapes
    vmap                makes a vmap rule of an op: leading_vmap or folding_vmap
    numbers             arguments that may be 0-d tensors on the CPU beside others on a GPU
    """
    formulas = {
        f"{name}_reference": reference,
        f"{name}_backward_reference": _of_the_outputs(name, fake, backward_reference),
    }
    for formula, function in formulas.items():
        LIBRARY.impl(formula, function, "CompositeImplicitAutograd")
    for op, empty in ((name, fake), (f"{name}_backward", fake_backward)):
        torch.library.register_fake(f"flowkernels::{op}", _on_one_device(op, empty, numbers))
        torch.library.register_vmap(
            f"flowkernels::{op}", vmap(getattr(torch.ops.flowkernels, op).default)
        )


def entry(
    name: str, *tensors: str, lists: tuple[str, ...] = (), reference: Function | None = None
) -> Function:
    """The op as a plain function: into the graph when compiling, else straight into C++.

    `tensors` names the leading tensor arguments and `lists` the lists of tensors behind them, for
    the error where one is none. `reference` is the definition of an op that consists of others;
    it takes the arguments of the dispatcher's schema.
    """
    graph = getattr(torch.ops.flowkernels, name).default
    eager = getattr(_C, name)
    if FORCED == "reference":
        graph = eager = reference or getattr(torch.ops.flowkernels, f"{name}_reference").default

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling():
            return graph(*args)
        try:
            return eager(*args)
        except TypeError:
            for argument, value in zip(tensors, args, strict=False):
                if not isinstance(value, Tensor):
                    raise TypeError(
                        f"{name}: `{argument}` must be a torch.Tensor, got {type(value).__name__}"
                    ) from None
            for argument, value in zip(lists, args[len(tensors) :], strict=False):
                for each in value if isinstance(value, (list, tuple)) else [value]:
                    if isinstance(value, Tensor) or not isinstance(each, Tensor):
                        raise TypeError(
                            f"{name}: `{argument}` must be a sequence of torch.Tensors, got "
                            f"{type(value).__name__} of {type(each).__name__}"
                        ) from None
            raise

    return call
