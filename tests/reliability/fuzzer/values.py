"""Tensors as users have them: shapes, dtypes, layouts in memory, special values; and wrong ones."""

from __future__ import annotations

import random
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LENGTHS = (1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 16, 17, 24, 25, 33, 64, 65, 130)
SPECIAL = (
    float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e-45, 1e-40, -1e-310, 5e-324,
    1e-30, 1e-20, 1e20, -1e30, 3e38, -1e300, 1e154,
)  # fmt: skip


def size(rng: random.Random, kind: str) -> tuple[int, ...]:
    """A size of one of the kinds that declarations know, small in all."""
    length = rng.choice(LENGTHS)
    if kind == "images":
        rest = tuple(rng.choice((1, 2, 3, 5)) for _ in range(rng.choice((0, 0, 0, 1, 2, 3))))
        return (rng.choice((1, 2, 3, 7, 20)), length if not rest else min(length, 6), *rest)
    if kind == "matrices":
        return (*batch(rng), min(length, 17))
    if kind == "networks":
        return (rng.choice((1, 2, 5, 33)), rng.choice((1, 2, 8, 17, 64)))
    if kind == "elements":
        return (*batch(rng), length)
    return (*batch(rng), length)


def batch(rng: random.Random) -> tuple[int, ...]:
    """A batch shape without zeros; empty batches are cut from these."""
    return tuple(rng.choice((1, 2, 3, 7, 20)) for _ in range(rng.choice((1, 1, 1, 2, 3))))


def lay_out(rng: random.Random, t: Tensor) -> tuple[str, Tensor]:
    """The same values elsewhere in memory; gaps hold NaN."""
    kind = rng.choice(("as it is", "as it is", "as it is", "offset", "sliced", "transposed",
                       "gaps", "channels last", "negated"))  # fmt: skip
    if t.ndim == 0 or not t.is_floating_point():
        return "as it is", t
    if kind == "offset":
        memory = t.new_full((t.numel() + 3,), float("nan"))
        memory[1 : t.numel() + 1] = t.reshape(-1)
        return kind, memory[1 : t.numel() + 1].view(t.shape)
    if kind == "sliced":
        wide = t.new_full((*t.shape[:-1], t.shape[-1] + 3), float("nan"))
        wide[..., 2:-1] = t
        return kind, wide[..., 2:-1]
    if kind == "transposed":
        order = list(range(t.ndim))
        rng.shuffle(order)
        back = sorted(range(t.ndim), key=order.__getitem__)
        return kind, t.permute(order).contiguous().permute(back)
    if kind == "gaps":
        wide = t.new_full((*t.shape, 2), float("nan"))
        wide[..., 0] = t
        return kind, wide[..., 0]
    if kind == "channels last" and t.ndim == 4:
        return kind, t.contiguous(memory_format=torch.channels_last)
    if kind == "negated":
        return kind, torch._neg_view(-t)
    return "as it is", t


def expand_batch(rng: random.Random, t: Tensor) -> Tensor:
    """One entry of the batch for all, by a stride of 0."""
    return t[:1].expand(t.shape) if t.ndim > 1 else t


def with_special(rng: random.Random, t: Tensor) -> Tensor:
    """Some elements replaced by what float formats have at their ends."""
    t = t.clone(memory_format=torch.contiguous_format)
    flat = t.view(-1)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if flat.numel():
            value = torch.tensor(rng.choice(SPECIAL), dtype=torch.float64)
            flat[rng.randrange(flat.numel())] = value.to(t.dtype)
    return t


def other_shape(rng: random.Random, t: Tensor) -> Tensor:
    """Values of another shape: a dimension more or less, or other lengths, 0 among them."""
    shape = list(t.shape)
    for _ in range(rng.choice((1, 1, 2))):
        change = rng.choice(("add", "drop", "length", "length"))
        if change == "add":
            shape.insert(rng.randint(0, len(shape)), rng.choice((0, 1, 2, 3)))
        elif shape and change == "drop":
            shape.pop(rng.randrange(len(shape)))
        elif shape:
            shape[rng.randrange(len(shape))] = rng.choice((0, 1, 2, 3, 5))
    return torch.randn(shape, dtype=torch.float64).to(t.dtype)


def wrong_tensor(rng: random.Random, t: Tensor) -> tuple[str, Any]:
    """A tensor of a kind that no op takes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kinds that torch calls new or old
        return _wrong_tensor(rng, t)


def _wrong_tensor(rng: random.Random, t: Tensor) -> tuple[str, Any]:
    kind = rng.choice(("int64", "bool", "complex", "sparse", "meta", "sparse csr", "int32",
                       "undefined", "float8", "quantized", "uint8"))  # fmt: skip
    made: Any = t
    if kind in ("int64", "bool", "int32", "uint8"):
        made = t.float().nan_to_num(0, 0, 0).clamp(-9, 9).to(getattr(torch, kind))
    elif kind == "complex":
        made = t.float().to(torch.complex64)
    elif kind == "sparse":
        plain = t.float() if t.dtype == torch.float8_e4m3fn else t  # spoiled before
        made = plain.to_sparse() if t.ndim else t.to(torch.complex128)
    elif kind == "sparse csr":
        made = t.float().to_sparse_csr() if t.ndim == 2 else t.to("meta")
    elif kind == "meta":
        made = t.to("meta")
    elif kind == "float8":
        made = t.float().to(torch.float8_e4m3fn)
    elif kind == "quantized":
        plain = t.detach().float().nan_to_num(0, 0, 0)
        made = torch.quantize_per_tensor(plain, 0.1, 0, torch.qint8)
    else:
        made = None
    return kind, made


def wrong_value(rng: random.Random) -> tuple[str, Any]:
    """Something that is neither the tensor nor the option that an argument should be."""
    choices: list[Any] = [
        None, "text", "", b"bytes", 1 + 2j, [], {}, object(), (), float("nan"), float("inf"),
        float("-inf"), -1, 0, 10**30, -(10**18), 2**63, True, False, 1.5, -0.0, 1e308, 1e-320,
        np.zeros(3), np.float64(2.0), np.int64(3), [1.0, 2.0], [[1.0], [2.0, 3.0]], [None],
        "shift_scale ", "tanh\0", "é", "x" * 10000, torch.float32, torch.device("cpu"), slice(1),
        torch.zeros(2, 2), torch.tensor(float("nan")), torch.tensor(1.0, requires_grad=True),
        torch.zeros(3, dtype=torch.int64), torch.zeros((), dtype=torch.complex64), range(3),
    ]  # fmt: skip
    value = rng.choice(choices)
    shown = repr(value)
    return (shown if len(shown) < 60 else f"{shown[:50]}... of {len(shown)}"), value
