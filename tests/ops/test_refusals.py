"""Every op that the dispatcher reaches looks at every tensor, and says which one it cannot take.

The calls are recorded from those of the shared checker, forward and backward, so that no op and no
argument can be left out.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from flowkernels import _C
from flowkernels.ops._declaration import OPS, PUBLIC
from tests import forked

from .cases import CASES
from .derived import options_of

# Of kinds of tensors that torch calls new, or old.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning"),
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),
]


class _Record(TorchDispatchMode):
    """The first call of each op of ours."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: dict[str, tuple[Any, ...]] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name
        if name.startswith("flowkernels::"):
            plain = tuple(a.detach().clone() if isinstance(a, Tensor) else a for a in args)
            self.calls.setdefault(name.removeprefix("flowkernels::"), plain)
        return function(*args, **(kwargs or {}))


@cache
def _calls() -> dict[str, tuple[Any, ...]]:
    record = _Record()
    for case in CASES:
        leaves = case.small()[0].to(torch.float32).leaves()
        with record:
            outputs = [o for o in case.outputs(case.call, leaves) if o.requires_grad]
            if outputs:
                torch.autograd.grad(outputs, leaves.tensors, [torch.ones_like(o) for o in outputs],
                                    allow_unused=True)  # fmt: skip
    for op in PUBLIC.values():
        if op.random:
            with record:
                op.inputs.call(op.function, (3, 4), op.inputs.tensors((3, 4)))
    return record.calls


def _sparse(t: Tensor) -> Tensor:
    return t.reshape(t.numel(), 1).to_sparse()


CHANGES: dict[str, Callable[[Tensor], Any]] = {
    "int32": lambda t: t.nan_to_num().to(torch.int32),
    "bool": lambda t: t.to(torch.bool),
    "complex64": lambda t: t.to(torch.complex64),
    "meta": lambda t: t.to("meta"),
    "sparse": _sparse,
    "sparse csr": lambda t: t.reshape(t.numel(), 1).float().to_sparse_csr(),
    "quantized": lambda t: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.qint8),
    "None": lambda t: None,
    "7 x 5 x 11": lambda t: torch.ones(7, 5, 11).to(t.dtype),
    "one dimension less": lambda t: t.reshape(-1)[:1].reshape(()) if t.ndim < 2 else t[0],
    "one element more": lambda t: torch.cat([t, t[..., :1]], -1) if t.ndim else t.expand(2),
    "nothing": lambda t: t.reshape(-1)[:0],
}
NO_FLOATS = ["int32", "bool", "complex64"]
OF_SHAPE = ["7 x 5 x 11", "one dimension less", "one element more", "nothing"]


def _trials(changes: Iterable[str] = CHANGES) -> Iterator[Any]:
    for name, args in sorted(_calls().items()):
        schema = getattr(torch.ops.flowkernels, name).default._schema
        for i, (argument, value) in enumerate(zip(schema.arguments, args, strict=False)):
            if not isinstance(value, Tensor):
                continue
            for change in changes:
                if change == "meta" and sum(isinstance(a, Tensor) for a in args) == 1:
                    continue  # a call on a device of its own
                if change == "one dimension less" and value.ndim == 0:
                    continue  # it has none
                yield pytest.param(name, i, change, id=f"{name}-{argument.name}-{change}")


def test_every_op_is_called() -> None:
    wanted = {name for name, op in OPS.items() if op.kernels}
    wanted |= {f"{name}_backward" for name in wanted if OPS[name].backward}
    assert wanted <= set(_calls())


@pytest.mark.parametrize("gradients", [False, True], ids=["", "with gradients"])
@pytest.mark.parametrize(("name", "i", "change"), list(_trials()))
def test_a_wrong_tensor_is_named(name: str, i: int, change: str, gradients: bool) -> None:
    """Also where autograd takes another way: a backward of a backward is in plain torch."""
    args = list(_calls()[name])
    argument = getattr(torch.ops.flowkernels, name).default._schema.arguments[i].name
    args[i] = CHANGES[change](args[i])
    if gradients:
        args = [_leaf(a) for a in args]
    error = _error_of(name, args)
    if error is None:
        assert change in OF_SHAPE, f"took `{argument}` as {change}"
        return
    # The dispatcher itself refuses what is no tensor; it names both.
    proper = (TypeError, ValueError, NotImplementedError)
    assert isinstance(error, proper) or change == "None", repr(error)
    text = str(error)
    if change == "None" and "no tensor arguments" in text:
        assert f"flowkernels::{name}" in text  # the dispatcher's, where there is no other tensor
        return
    names = {name, name.removesuffix("_backward"), *_public_names(name)}
    assert any(n in text for n in names), text
    # A shape that does not fit another one may be said of that one.
    others = [a.name for a in getattr(torch.ops.flowkernels, name).default._schema.arguments]
    said = [n for n in others if f"`{n}`" in text or f"'{n}'" in text]
    in_public_words = any(f"`{n}`" in text for n in _public_arguments(name))
    assert said or in_public_words, text
    assert change in OF_SHAPE or argument in said or in_public_words, text


@pytest.mark.parametrize(("name", "i", "change"), list(_trials([*NO_FLOATS, *OF_SHAPE])))
def test_a_wrong_tensor_is_refused_without_values(name: str, i: int, change: str) -> None:
    """On the meta device, and so under torch.compile, as on the CPU."""
    args = list(_calls()[name])
    args[i] = CHANGES[change](args[i])
    error = _error_of(name, args)
    without = _error_of(name, [a.to("meta") if isinstance(a, Tensor) else a for a in args])
    assert type(without) is type(error), without


@pytest.mark.parametrize(
    "name", [op.name for op in PUBLIC.values() if "scale_fn" in options_of(op)]
)
def test_options_are_refused_without_values(name: str) -> None:
    op = PUBLIC[name]
    tensors = op.inputs.tensors((3, 6))
    for option, choices in {**options_of(op), "bound": (1.0,)}.items():
        if choices == (False, True):
            continue
        errors = []
        for device in ("cpu", "meta"):
            there = [t.to(device) for t in tensors]
            with pytest.raises(ValueError, match=f"{name}: `{option}` must be") as caught:
                op.function(
                    *op.inputs.arguments(tuple(there)),
                    **{**op.inputs.options((3, 6)), option: -1.0 if option == "bound" else "other"},
                )
            errors.append(str(caught.value))
        assert errors[0] == errors[1]


def _leaf(argument: Any) -> Any:
    if not isinstance(argument, Tensor) or not argument.is_floating_point():
        return argument
    return argument.detach().requires_grad_()


def _error_of(name: str, args: list[Any]) -> Exception | None:
    try:
        getattr(torch.ops.flowkernels, name).default(*args)
    except Exception as error:
        return error
    return None


def _public_names(name: str) -> set[str]:
    """The public ops that an op serves: messages may be in their words."""
    served = name.removesuffix("_backward")
    return {p.name for p in PUBLIC.values() if served in p.served_by}


def _public_arguments(name: str) -> set[str]:
    served = name.removesuffix("_backward")
    return {"v", "x", "kappa", "r"} if served.startswith("bessel") else set()


# ---- public ops: options of a wrong type ------------------------------------------------------

WRONG_OPTIONS: list[Any] = [None, "no", 1.5, b"x", [1], torch.tensor(2.0, requires_grad=True)]


def _options() -> Iterator[Any]:
    for op in PUBLIC.values():
        listed = {
            k: ("str" if isinstance(v[0], str) else "bool") for k, v in options_of(op).items()
        }
        if "bound" in op.function.__kwdefaults__ if op.function.__kwdefaults__ else False:
            listed["bound"] = "float"
        for option, kind in listed.items():
            for value in WRONG_OPTIONS:
                if kind == "float" and isinstance(value, float):
                    continue
                shown = type(value).__name__
                yield pytest.param(op.name, option, value, id=f"{op.name}-{option}-{shown}")


@pytest.mark.parametrize(("name", "option", "value"), list(_options()))
def test_an_option_of_a_wrong_type_is_named(name: str, option: str, value: Any) -> None:
    op = PUBLIC[name]
    size = (3, 4) if op.inputs.sizes != "images" else (3, 4, 2)
    tensors = tuple(t.float() for t in op.inputs.tensors(size))
    options = {**op.inputs.options(size), option: value}
    with pytest.raises((TypeError, ValueError)) as error:
        op.function(*op.inputs.before, *op.inputs.arguments(tensors), **options)
    assert name in str(error.value)
    assert f"`{option}`" in str(error.value)


# ---- the environment ----------------------------------------------------------------------------

_SHOW = "from flowkernels import ops, _C; print(_C.build_info()['cpu_isa'])"


def _with_isa(value: str | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "FLOWKERNELS_CPU_ISA"}
    if value is not None:
        environment["FLOWKERNELS_CPU_ISA"] = value
    return forked.run(_SHOW, cwd=Path.cwd(), env=environment)


def test_an_instruction_set_is_obeyed_or_refused() -> None:
    best = _with_isa(None).stdout
    assert best.strip() in _C.build_info()["cpu_isas_compiled"]
    assert _with_isa("").stdout == best
    assert _with_isa("BASELINE").stdout.strip() == "baseline"
    refused = _with_isa("avx1024")
    assert refused.returncode != 0
    assert "FLOWKERNELS_CPU_ISA must name" in refused.stderr
    assert "'avx1024'" in refused.stderr
