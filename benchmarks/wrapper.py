"""python -m benchmarks.wrapper: the Python overhead of a Triton kernel launch.

Times a repeated call of an op's function, as the dispatcher calls it, on CPU tensors and without a
GPU: the lookup of the call by shapes, strides, dtypes, devices and options (checked at the first
call), copies of arguments if needed, allocation of the outputs, the kernel's arguments, and the
work after the kernel (sums over the splits of long rows, casts).  The launch is replaced by a
no-op.  `outputs` is the allocation alone, `first` the first call.

Not included: the dispatcher, autograd, and Triton's launch.
"""

from __future__ import annotations

import argparse
import importlib
import timeit
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from flowkernels.ops.triton.engine import calls
from flowkernels.ops.triton.registration import OPS

ROWS, D = 1024, 8
COUPLING = ("tanh", 2.0, 1.0, "shift_scale", "scale_then_shift", False, "second", "row")
SPLINE = (8, 3.0, "linear", 1e-3, 1e-3, 1e-3, "nflows", 1.0, False, "second", "row")


def _arguments() -> dict[str, tuple[Any, ...]]:
    """The arguments of one call of each op."""
    x, wider, kappa = torch.rand(ROWS, D), torch.rand(ROWS, D + 1), torch.rand(ROWS)
    mean, seed = torch.rand(D), torch.tensor(1)
    return {
        "affine_coupling": (x, x, *COUPLING),
        "bessel": (kappa, 1.5, "vmf_log_normalizer"),
        "bessel_order": (kappa, kappa, "iv_ratio"),
        "log_det_diagonal": (x, 1),
        "rational_quadratic_spline": (x, torch.rand(ROWS, 23 * D), *SPLINE),
        "slerp": (x, x, kappa[:4]),
        "stereographic": (x,),
        "stereographic_inverse": (wider,),
        "tangent_normal": (mean, kappa, kappa, seed),
        "vmf_log_prob": (x, x, kappa, True),
        "vmf_log_prob, one loc": (x, mean, kappa, True),
        "stereographic_vmf_log_prob": (x, wider, kappa, True),
        "vmf_sample_cosine": (kappa, seed, 8, True),
    }


@contextmanager
def without_launches() -> Iterator[None]:
    """A context in which kernels are not launched."""
    launch, calls.launch = calls.launch, lambda call, first: None
    try:
        yield
    finally:
        calls.launch = launch


def both() -> Iterator[tuple[str, calls.Planned, tuple[Any, ...]]]:
    """(name, function, arguments) of every op's forward and backward."""
    for label, arguments in _arguments().items():
        op = label.partition(",")[0]
        loaded = importlib.import_module(f"flowkernels.ops.triton.{OPS[op]}")
        forward = getattr(loaded, op)
        yield label, forward, arguments
        if backward := getattr(loaded, f"{op}_backward", None):
            with without_launches():
                outputs = forward(*arguments)
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            yield f"{label}, backward", backward, (*outputs, *arguments)


def seconds(function: Any, count: int = 2000, repeats: int = 15) -> float:
    """The shortest time of a call."""
    return min(timeit.repeat(function, number=count, repeat=repeats)) / count


def microseconds() -> Iterator[tuple[str, float, float, float]]:
    """(name, a call, the allocation of its outputs, the first call)."""
    for name, function, arguments in both():
        calls.forget()
        first = timeit.timeit(lambda f=function, a=arguments: f(*a), number=1)  # type: ignore[misc]
        (call,) = function.calls.values()
        yield (
            name,
            1e6 * seconds(lambda f=function, a=arguments: f(*a)),
            1e6 * seconds(lambda c=call: [make() for make in c.makes]),
            1e6 * first,
        )


def main() -> None:
    """Print the table."""
    formatter = argparse.RawDescriptionHelpFormatter
    argparse.ArgumentParser(description=__doc__, formatter_class=formatter).parse_args()
    torch.set_num_threads(1)
    print(f"{'microseconds':42} {'call':>7} {'outputs':>8} {'first':>8}")
    with torch.no_grad(), without_launches():
        for name, call, outputs, first in microseconds():
            print(f"{name:42} {call:7.2f} {outputs:8.2f} {first:8.0f}")


if __name__ == "__main__":
    main()
