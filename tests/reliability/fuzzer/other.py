"""Calls of the dispatcher's ops by their schemas, of distributions, and of special functions."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkernels import _C, distributions, special
from flowkernels.ops import reference

from . import values
from .call import Call, replaced, tensors_of

SHAPES = ((), (0,), (1,), (3,), (6,), (2, 3), (4, 6), (4, 12), (4, 0), (0, 6), (1, 1), (4, 7),
          (2, 3, 4), (2, 6, 4), (2, 4, 3, 3), (2, 8, 3, 3), (20, 33))  # fmt: skip


def _words() -> list[str]:
    listed = [word for words in _C.options().values() for word in words]
    return [*listed, "", "other", "tanh "]


def _dispatched() -> list[str]:
    # Formulas in plain torch (`_composite`) read no memory themselves.
    return sorted(
        schema.name.removeprefix("flowkernels::")
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith("flowkernels::") and not schema.name.endswith("_composite")
    )


def _tensor(rng: random.Random, shape: tuple[int, ...] | None = None) -> Any:
    shape = rng.choice(SHAPES) if shape is None else shape
    dtype = rng.choice((torch.float32,) * 5 + values.FLOATING)
    made = torch.randn(shape, dtype=torch.float64).to(dtype)
    chance = rng.random()
    if chance < 0.06:
        return values.wrong_tensor(rng, made)[1]
    if chance < 0.15:
        return values.with_special(rng, made)
    return values.lay_out(rng, made)[1]


def _value(rng: random.Random, kind: str, shape: tuple[int, ...]) -> Any:
    if kind == "Tensor":
        return _tensor(rng, shape if rng.random() < 0.6 else None)
    if kind == "List[Tensor]":
        return [_tensor(rng) for _ in range(rng.choice((0, 1, 2, 3)))]
    if kind == "float":
        return rng.choice((0.5, 1.0, 2.0, 391.5, 0.0, -1.0, float("nan"), float("inf"), 1e300))
    if kind in ("int", "SymInt"):
        return rng.choice((0, 1, 2, 3, 6, -1, 17, 2**31, 2**62, -(2**62)))
    if kind == "bool":
        return rng.random() < 0.5
    if kind == "str":
        return rng.choice(_words())
    return None


def dispatched(rng: random.Random) -> Call:
    """A call of an op of the dispatcher with arguments of the types of its schema."""
    name = rng.choice(_dispatched())
    op = getattr(torch.ops.flowkernels, name).default
    shape = rng.choice(SHAPES)
    arguments = {a.name: _value(rng, str(a.type), shape) for a in op._schema.arguments}
    served = name.removesuffix("_backward")
    call = Call(served, op, arguments, legal=False, accurate=False, raw=True)
    if served.startswith("bessel"):
        call.also = ("bessel", *special.__all__)
        call.named = ("v", "kappa", "r")
    for argument, place, tensor in list(tensors_of(arguments)):
        if tensor.dtype in values.FLOATING and rng.random() < 0.2:
            leaf = tensor.detach().requires_grad_()
            call.arguments = replaced(call.arguments, argument, place, leaf)
    call.positional = len(arguments)
    return call


# ---- distributions ----------------------------------------------------------------------------


def _unit(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    plain = torch.nn.functional.normalize(torch.randn(shape, dtype=torch.float64), dim=-1)
    return plain.to(dtype)


def distribution(rng: random.Random) -> Call:
    """A distribution made and one of its methods called."""
    name = rng.choice(("VonMisesFisher", "PowerSpherical", "SphericalCauchy",
                       "HypersphericalUniform", "IsotropicCauchy"))  # fmt: skip
    made = getattr(distributions, name)
    dim = rng.choice((2, 3, 4, 17, 64))
    dtype = rng.choice((torch.float32, torch.float64))
    shape = rng.choice(((), (3,), (2, 1), (0,)))
    scale = rng.choice((torch.rand(shape, dtype=dtype) * 20 + 0.1, torch.tensor(3.0, dtype=dtype),
                        2.5))  # fmt: skip
    if name == "HypersphericalUniform":
        arguments: dict[str, Any] = {"dim": dim, "batch_shape": shape, "dtype": dtype}
    else:
        loc = _unit((*shape, dim), dtype)
        if name == "SphericalCauchy":
            scale = scale / (1 + scale)
        arguments = {"loc": loc, made.parameter_name: scale}
    method = rng.choice(("log_prob", "rsample", "sample", "entropy", "mean", "expand", "mode"))
    x = _unit((*rng.choice(((), (5,))), *shape, dim), dtype)
    extra: dict[str, Any] = {
        "log_prob": {"value": x},
        "rsample": {"sample_shape": rng.choice(((), (2,), (0,), (2, 3)))},
        "sample": {"sample_shape": rng.choice(((), (2,), (0,), (2, 3)))},
        "expand": {"batch_shape": (4, *shape)},
    }.get(method, {})
    call = Call(name, lambda **a: None, {**arguments, **extra}, accurate=False)
    if rng.random() < 0.5:
        call.legal = False
        argument = rng.choice(list(call.arguments))
        value = call.arguments[argument]
        if isinstance(value, Tensor) and rng.random() < 0.6:
            value = rng.choice((
                values.other_shape(rng, value), values.with_special(rng, value),
                values.wrong_tensor(rng, value)[1], -value,
            ))  # fmt: skip
        else:
            value = values.wrong_value(rng)[1]
        call.arguments = replaced(call.arguments, argument, None, value)
        call.changes.append(argument)

    def run(**given: Any) -> Any:
        own = {n: v for n, v in given.items() if n not in extra}
        instance = made(**own)
        attribute = getattr(instance, method)
        out = attribute(*(given[n] for n in extra)) if callable(attribute) else attribute
        return out if isinstance(out, Tensor) else ()

    call.function = run
    call.changes.append(f".{method}")
    return call


# ---- special functions ------------------------------------------------------------------------


def special_function(rng: random.Random) -> Call:
    """A special function of NumPy arrays and what NumPy takes for one."""
    name = rng.choice(special.__all__)
    shape = rng.choice(((), (1,), (3,), (2, 3), (0,), (2, 0)))
    dtype = rng.choice((np.float32, np.float64, np.float64))
    x = (np.random.default_rng(rng.randrange(2**32)).random(shape) * 0.9 + 0.01).astype(dtype)
    if name in ("log_iv", "iv_ratio"):
        arguments: dict[str, Any] = {"v": rng.choice((1, 1.5, 7.25, 391.5)), "x": x * 100}
    elif name == "vmf_concentration":
        arguments = {"r": x * 0.6, "dim": rng.choice((2, 3, 17))}
    else:
        arguments = {"kappa": x * 100, "dim": rng.choice((2, 3, 17, 785))}
    call = Call(name, getattr(special, name), arguments, positional=2, accurate=False)
    if rng.random() < 0.5:
        call.legal = False
        argument = rng.choice(list(arguments))
        call.arguments = replaced(arguments, argument, None, values.wrong_value(rng)[1])
        call.changes.append(argument)
    else:
        call.function = _as_tensors(name)
        call.plain = {n: torch.as_tensor(v) if n in ("x", "kappa", "r") else v
                      for n, v in arguments.items()}  # fmt: skip
        call.reference = getattr(reference, name)
        call.accurate = True
    return call


def _as_tensors(name: str) -> Any:
    function = getattr(special, name)
    return lambda *a: torch.as_tensor(np.asarray(function(*a)))
