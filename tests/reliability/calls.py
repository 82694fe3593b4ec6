"""Every op, forward and backward: what the campaigns call.

The calls follow from the declarations and the samples of the shared checker; no op can be left out.

    python -m tests.reliability.calls OUTPUT [DTYPE...]   writes the results of `every_call`
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import flowkernels
from flowkernels import ops
from flowkernels.ops._declaration import OPS, PUBLIC, PublicOp

from ..ops.case import ALL_DTYPES, Case, Sample
from ..ops.cases import CASES
from ..ops.derived import options_of

# Those without kernels of their own consist of torch's products where a layer is wide.
NETWORKS = [
    op.name
    for op in PUBLIC.values()
    if op.inputs.sizes == "networks" and not OPS[op.served_by[0]].kernels
]
WIDEST = 128  # layer that the kernels serve: `mlp_widest` in csrc
# Networks whose hidden layers are wider.
WIDE_NETWORKS = [(2_000, 300), (70, 1030)]
# More elements than one thread takes (`grain` in csrc/bindings/check.h), several times.
LARGE = {
    "rows": [(40_000, 6), (300, 1029), (3, 70_001), (100_003, 2)],
    "images": [(40_000, 6), (300, 1030), (3, 70_002), (100_003, 2), (40, 6, 33, 35)],
    "elements": [(150_001,)],
    "matrices": [(6_000, 24)],
    "networks": [(4_000, 48)],
}
SMALL = {"rows": (3, 5), "images": (3, 6), "elements": (7,), "matrices": (2, 4),
         "networks": (5, 8)}  # fmt: skip


@dataclass(frozen=True)
class Call:
    """A call of a public op with fixed arguments."""

    op: str
    label: str
    function: Callable[..., Any]
    tensors: tuple[Tensor, ...]
    with_gradients: bool = True

    def __str__(self) -> str:
        return f"{self.op} {self.label}"

    @property
    def has_torch_gradients(self) -> bool:
        """Whether its gradients are formulas in torch: second derivatives."""
        return self.op.endswith("_backward")

    @property
    def has_torch_products(self) -> bool:
        """Whether it is a network so wide that torch's matrix products serve it."""
        widths = (max(t.shape) for t in self.tensors[1:] if t.ndim == 2)
        return self.op in NETWORKS and max(widths) > WIDEST

    def __call__(self) -> tuple[Tensor, ...]:
        """The outputs, then, unless they are not wanted, the gradients of all tensors."""
        return self.prepared()()

    def prepared(self) -> Callable[[], tuple[Tensor, ...]]:
        """The call without what it needs to do but once."""
        # Without gradients the kernels serve also where a derivative is a formula in torch.
        leaves = tuple(t.detach().requires_grad_(self.with_gradients) for t in self.tensors)
        weights: tuple[Tensor, ...] = ()

        def again() -> tuple[Tensor, ...]:
            nonlocal weights
            out = self.function(*leaves)
            outputs = out if isinstance(out, tuple) else (out,)
            if not self.with_gradients:
                return tuple(o.detach() for o in outputs)
            weights = weights or tuple(_weights(o) for o in outputs)
            grads = torch.autograd.grad(outputs, leaves, weights)
            return (*(o.detach() for o in outputs), *grads)

        return again


def _weights(output: Tensor) -> Tensor:
    """A fixed, irregular gradient of an output."""
    count = torch.arange(output.numel(), dtype=torch.float64) + 0.5
    return count.sin().reshape(output.shape).to(output.dtype)


def name_of(dtype: torch.dtype) -> str:
    """Without its module."""
    return str(dtype).removeprefix("torch.")


def of_sample(case: Case, sample: Sample, dtype: torch.dtype) -> Call:
    """The call of a sample of the shared checker."""
    rounded = sample.to(dtype)
    label = f"{sample.label} {name_of(dtype)}"
    return Call(
        case.name or case.op, label, lambda *t: case.call(*t, **rounded.options), rounded.tensors
    )


def of_size(op: PublicOp, size: tuple[int, ...], dtype: torch.dtype, **options: Any) -> Call:
    """The call that a declaration makes of a size; a random op draws the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(size))
        exact = op.inputs.tensors(size)
    names = [*inspect.signature(op.function).parameters][len(op.inputs.before) :]
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    tensors = tuple(
        # Log-dets are at least float32, so their gradients are.
        t.to(wide if name == "grad_log_det" else dtype)
        for t, name in itertools.zip_longest(exact, names[: len(exact)])
    )

    def function(*leaves: Tensor) -> Any:
        given = {**op.inputs.options(size), **options}
        if op.random:
            given["generator"] = torch.Generator().manual_seed(1)
        return op.function(*op.inputs.before, *op.inputs.arguments(leaves), **given)

    words = [f"{k}={v}" for k, v in {"size": size, **options}.items()]
    return Call(op.name, f"{', '.join(words)} {name_of(dtype)}", function, tensors)


def of_the_samples(dtypes: tuple[torch.dtype, ...] = ALL_DTYPES) -> Iterator[Call]:
    """Every sample of the shared checker."""
    for case in CASES:
        for sample in case.samples():
            for dtype in dtypes:
                yield of_sample(case, sample, dtype)


def large(dtypes: tuple[torch.dtype, ...] = ALL_DTYPES) -> Iterator[Call]:
    """Every public op at sizes that several threads share, with every value of its options."""
    for op in PUBLIC.values():
        for dtype in dtypes:
            sizes = LARGE[op.inputs.sizes]
            for size in sizes:
                yield of_size(op, size, dtype)
            for options in _every_value(op):
                yield of_size(op, sizes[0], dtype, **options)


def _every_value(op: PublicOp) -> Iterator[dict[str, Any]]:
    """Options such that each pair of an option's value and a flag occurs; the others by turns."""
    choices = options_of(op)
    choices.pop("residual", None)  # the declared networks have no blocks
    flags = {k: v for k, v in choices.items() if v == (False, True)}
    listed = {k: v for k, v in choices.items() if k not in flags}
    turns = max((len(v) for v in listed.values()), default=1 if flags else 0)
    for flag_values in itertools.product(*flags.values()):
        for turn in range(turns):
            by_turn = {k: v[turn % len(v)] for k, v in listed.items()}
            yield {**by_turn, **dict(zip(flags, flag_values, strict=True))}


def wide_networks() -> list[Call]:
    """The ops that hand wide layers to torch's matrix products."""
    return [
        of_size(op, size, dtype)
        for op in PUBLIC.values()
        if op.name in NETWORKS
        for size in WIDE_NETWORKS
        for dtype in (torch.float32, torch.float64)
    ]


def shared() -> list[Call]:
    """Ops whose many rows share one argument, the gradient of which is a sum over all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        rows = 100_003
        a, b, t = torch.randn(rows, 3), torch.randn(rows, 3), torch.tensor(0.3)
        orders = torch.rand(rows) * 9 + 1
    given = {
        "slerp": (ops.slerp, (a, b, t)),
        "log_iv": (lambda x: ops.log_iv(orders, x), (t,)),
        "iv_ratio": (lambda x: ops.iv_ratio(orders, x), (t,)),
    }
    return [
        Call(op, f"one argument for {rows} rows", function, tensors)
        for op, (function, tensors) in given.items()
    ]


def small(dtypes: tuple[torch.dtype, ...] = (torch.float32,)) -> list[Call]:
    """One quick call of each public op."""
    return [of_size(op, SMALL[op.inputs.sizes], d) for op in PUBLIC.values() for d in dtypes]


def bits(tensors: tuple[Tensor, ...]) -> tuple[bytes, ...]:
    """What must be equal where results are equal bit for bit."""
    return tuple(t.contiguous().view(-1).view(torch.uint8).numpy().tobytes() for t in tensors)


def every_call(dtypes: tuple[torch.dtype, ...] = ALL_DTYPES) -> Iterator[Call]:
    """The samples and the declared calls of moderate size."""
    yield from of_the_samples(dtypes)
    for op in PUBLIC.values():
        for dtype in dtypes:
            yield of_size(op, SMALL[op.inputs.sizes], dtype)
            yield of_size(op, LARGE[op.inputs.sizes][0], dtype)


def main() -> None:
    """Runs every call and writes what it gave."""
    torch.set_num_threads(1)
    dtypes = tuple(getattr(torch, name) for name in sys.argv[2:]) or ALL_DTYPES
    results = {f"{i} {call}": (call.op, call()) for i, call in enumerate(every_call(dtypes))}
    torch.save({"isa": flowkernels.build_info()["cpu_isa"], "results": results}, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
