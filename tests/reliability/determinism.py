"""The same bits for every number of threads, every time; across instruction sets within ulps.

What torch computes itself keeps only the second half of this promise: the same bits every time
with the same number of threads. That is the matrix products and convolutions of wide networks and
of Glow, and the formulas behind second derivatives: at the end of a thread's share, torch computes
`sigmoid` and `softplus` of the last few elements by another formula.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

import flowkernels
from flowkernels import flows
from flowkernels.flows import Flow

from . import calls
from .calls import Call, bits
from .campaign import Campaign, Outcome

ROOT = Path(__file__).parents[2]
THREADS = (1, 2, 4)


# How far two instruction sets may be apart, in units in the last place relative to the larger of
# an element and the tensor's largest element: of a result in the dtype of the arithmetic (float32
# or float64), and of one that is rounded to 16 bits, where one bit may fall either way.
BETWEEN_ISAS = {torch.float64: 32.0, torch.float32: 32.0, torch.float16: 1.0, torch.bfloat16: 1.0}
# More than that, of results that are sums which cancel.
BETWEEN_ISAS_OF: dict[str, dict[torch.dtype, float]] = {
    # The gradient in t: a row's sum of products of both signs.
    "slerp": {torch.float64: 256.0, torch.float32: 128.0},
    # The gradients of a network's weights: sums over the batch. In the samples of residual networks
    # those of the rows are almost parallel, and a sum with random cotangents cancels most.
    "affine_autoregressive_inverse": {torch.float64: 64.0, torch.float32: 64.0},
    "affine_coupling_mlp": {torch.float64: 128.0, torch.float32: 128.0},
    "mlp": {torch.float64: 256.0, torch.float32: 256.0},
    # The rounding of a knot, where a bin is narrow or its curve steep.
    "rational_quadratic_spline": {torch.float64: 64.0, torch.float32: 64.0},
    "rational_quadratic_spline_split": {torch.float64: 64.0, torch.float32: 64.0},
    "spline_autoregressive_inverse": {torch.float64: 64.0, torch.float32: 64.0},
    # The log-det, d log(rho): the last bit of rho counts d times.
    "stereographic": {torch.float64: 64.0, torch.float32: 32.0},
    # The gradient in the concentration.
    "vmf_log_prob": {torch.float64: 64.0, torch.float32: 32.0},
    # The rounding of x.loc, times kappa.
    "vmf_mixture_log_prob": {torch.float64: 128.0, torch.float32: 128.0},
    "vmf_mixture_statistics": {torch.float64: 128.0, torch.float32: 128.0},
}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """torch with a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def differing(
    call: Call, repeats: int, counts: Sequence[int] = THREADS, first: int = 1
) -> list[str]:
    """The numbers of threads and repetitions with which a call gives other bits than at first."""
    with threads(first):
        want = bits(call())
    found = []
    for count, turn in itertools.product(counts, range(repeats)):
        with threads(count):
            got = bits(call())
        if got != want:
            found.append(f"{call}: other bits with {count} threads, repetition {turn + 1}")
    return found


def broken(call: Call, repeats: int) -> list[str]:
    """Where a call does not keep the promise, as far as it is not torch's to keep."""
    found: list[str] = []
    if not (call.has_torch_gradients or call.has_torch_products):
        return differing(call, repeats)
    if call.has_torch_gradients:
        found += differing(replace(call, with_gradients=False), repeats)
    for count in THREADS:
        found += differing(call, repeats, [count], count)
    return found


# ---- training ----------------------------------------------------------------------


def _images(base: str) -> tuple[Flow, tuple[Tensor, ...]]:
    flow = flows.glow((3, 8, 8), levels=2, steps=2, hidden=16, base=base)
    return flow, (torch.randint(0, 256, (64, 3, 8, 8)).float(),)


def _vectors(base: str) -> tuple[Flow, tuple[Tensor, ...]]:
    return flows.realnvp(6, layers=4, hidden=32, base=base), (torch.randn(4096, 6),)


def _at_contexts(features: int, *batch: int) -> tuple[Flow, tuple[Tensor, ...]]:
    """Contexts of this batch shape for 8 times 512 vectors."""
    flow = flows.realnvp(6, layers=4, hidden=32, context=features)
    return flow, (torch.randn(8, 512, 6), torch.randn(*batch, features))


# A flow, and what its density takes: data, and a context if it reads one.
FLOWS: dict[str, Callable[[], tuple[Flow, tuple[Tensor, ...]]]] = {
    "realnvp, normal": lambda: _vectors("normal"),
    "realnvp, vmf": lambda: _vectors("vmf"),
    "realnvp, a context each": lambda: _at_contexts(5, 8, 512),
    "realnvp, narrow contexts": lambda: _at_contexts(5, 8, 1),
    "realnvp, wide contexts": lambda: _at_contexts(40, 8, 1),
    "realnvp, one context": lambda: _at_contexts(40),
}
# Of convolutions, which are torch's.
CONVOLUTIONS: dict[str, Callable[[], tuple[Flow, tuple[Tensor, ...]]]] = {
    "glow, vmf": lambda: _images("vmf"),
}


def trained(name: str, steps: int = 3) -> tuple[Tensor, ...]:
    """Losses, gradients and weights of a small flow after a few steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        flow, data = {**FLOWS, **CONVOLUTIONS}[name]()
        optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = -flow.log_prob(*data).mean()
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.detach())
    grads = [p.grad for p in flow.parameters() if p.grad is not None]
    return (*losses, *grads, *(p.detach() for p in flow.parameters()))


def differing_steps(
    name: str, repeats: int, counts: Sequence[int] = THREADS, first: int = 1
) -> list[str]:
    """The numbers of threads and repetitions with which training gives other bits than at first."""
    with threads(first):
        want = bits(trained(name))
    found = []
    for count, turn in itertools.product(counts, range(repeats)):
        with threads(count):
            got = bits(trained(name))
        if got != want:
            found.append(f"a step of {name}: other bits with {count} threads, run {turn + 1}")
    return found


@dataclass(frozen=True)
class OfTorch:
    """A call or a step of which torch's matrix products or convolutions are a part."""

    name: str
    differing: Callable[[int, Sequence[int]], list[str]]  # of repeats and numbers of threads


def of_torch() -> list[OfTorch]:
    """Wide networks and flows of convolutions."""
    found = [
        OfTorch(str(c), lambda repeats, counts, c=c: differing(c, repeats, counts, counts[0]))
        for c in calls.wide_networks()
    ]
    for name in CONVOLUTIONS:
        found.append(OfTorch(name, lambda r, c, n=name: differing_steps(n, r, c, c[0])))
    return found


# ---- instruction sets --------------------------------------------------------------


def instruction_sets() -> list[str]:
    """Those that are compiled and that this processor has: up to the one in use, the best."""
    info = flowkernels.build_info()
    compiled: list[str] = info["cpu_isas_compiled"]
    return compiled[: compiled.index(info["cpu_isa"]) + 1]


def results_on(isa: str, *dtypes: str) -> dict[str, tuple[str, tuple[Tensor, ...]]]:
    """What every call gives in a process of its own with the kernels of an instruction set."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.pt"
        subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "tests.reliability.calls", str(file), *dtypes],
            env={**os.environ, "FLOWKERNELS_CPU_ISA": isa},
            cwd=ROOT,
            check=True,
            timeout=900,
        )
        held = torch.load(file, weights_only=True)
    if held["isa"] != isa:
        raise RuntimeError(f"FLOWKERNELS_CPU_ISA={isa} ran the kernels of {held['isa']}")
    return held["results"]


def ulps(a: Tensor, b: Tensor) -> float:
    """The largest difference, relative to the larger of an element and the largest element."""
    if not a.numel():
        return 0.0
    x, y = a.double(), b.double()
    finite = x.isfinite() & y.isfinite()
    if not torch.equal(x[~finite].nan_to_num(7e77), y[~finite].nan_to_num(7e77)):
        return float("inf")
    if not finite.any():
        return 0.0
    info = torch.finfo(a.dtype)
    scale = max(x[finite].abs().max().item(), info.tiny)
    return (x - y)[finite].abs().max().item() / (scale * info.eps)


Differences = dict[str, dict[torch.dtype, float]]


def between(first: dict[str, tuple[str, tuple[Tensor, ...]]], second: object) -> Differences:
    """The largest difference in ulps of each op and dtype of its results."""
    assert isinstance(second, dict)
    found: Differences = {}
    for label, (op, tensors) in first.items():
        of_op = found.setdefault(op, {})
        for a, b in zip(tensors, second[label][1], strict=True):
            if a.dtype == torch.float64 and not label.endswith("float64"):
                a, b = a.float(), b.float()  # float64 sums of terms in the precision of the call
            of_op[a.dtype] = max(of_op.get(a.dtype, 0.0), ulps(a, b))
    return found


def beyond(found: Differences, where: str) -> list[str]:
    """The ops that differ by more than is stated."""
    lines = []
    for op, by_dtype in found.items():
        for dtype, worst in by_dtype.items():
            allowed = BETWEEN_ISAS_OF.get(op, {}).get(dtype, BETWEEN_ISAS[dtype])
            if worst > allowed:
                name = calls.name_of(dtype)
                lines.append(f"{op} {name}: {worst:.3g} ulps {where}, {allowed:g} are stated")
    return lines


# ---- the campaign ------------------------------------------------------------------


def _add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--repeats", type=int, default=2, help="runs at each number of threads")
    parser.add_argument("--ops", nargs="*", default=[], help="only these public ops")


def _all_calls(ops: Sequence[str]) -> Iterable[Call]:
    every = itertools.chain(calls.of_the_samples(), calls.large(), calls.shared())
    return (c for c in every if not ops or c.op in ops)


def _run(arguments: Namespace) -> Outcome:
    findings: list[str] = []
    tried, names = 0, set()
    for call in _all_calls(arguments.ops):
        findings += broken(call, arguments.repeats)
        tried, _ = tried + 1, names.add(call.op)
    for name in FLOWS:
        findings += differing_steps(name, arguments.repeats)
    torchs = of_torch()
    for each in torchs:
        for count in THREADS:
            findings += each.differing(arguments.repeats, [count])
    figures: dict[str, object] = {
        "ops": len(names),
        "different calls, forward and backward": tried,
        "numbers of threads": list(THREADS),
        "repetitions at each": arguments.repeats,
        "flows trained for 3 steps": list(FLOWS),
        "with other bits": len(findings),
        "wide networks and convolutions, which are torch's": len(torchs),
        "of these with other bits for another number of threads": sum(
            bool(each.differing(1, THREADS)) for each in torchs
        ),
    }
    isas = instruction_sets()
    results = {isa: results_on(isa) for isa in isas}
    for isa in isas:
        other = results_on(isa)
        for label, (_, tensors) in results[isa].items():
            if bits(tensors) != bits(other[label][1]):
                findings.append(f"{label}: other bits in another process ({isa})")
    for a, b in itertools.combinations(isas, 2):
        found = between(results[a], results[b])
        findings += beyond(found, f"between {a} and {b}")
        figures[f"largest difference in ulps, {a} and {b}"] = {
            op: {calls.name_of(d): round(worst, 2) for d, worst in by_dtype.items()}
            for op, by_dtype in sorted(found.items())
        }
    return Outcome(figures, findings)


CAMPAIGN = Campaign(
    "determinism",
    "the same bits for 1, 2 and 4 threads and every run; instruction sets within ulps",
    _add_arguments,
    _run,
)
