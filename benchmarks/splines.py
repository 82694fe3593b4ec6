"""python -m benchmarks.splines: rational-quadratic splines beside those of other libraries.

The op at three sizes and a training step of a neural spline flow, against nflows, normflows and
zuko, eager, and zuko through torch.compile, which breaks the graph of the others; after the results
agree. Needs the extra `peers`.
"""

from __future__ import annotations

import argparse
import math
import statistics
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from flowkernels import ops
from flowkernels.flows import nsf

from .interleaved import CLOCKS, interleave
from .steps import have, training_step

BINS, BOUND = 8, 3.0
PARTS = 3 * BINS - 1
SIZES = ((512, 6), (4096, 16), (4096, 64))
BLOCK_SECONDS = 0.005
Call = Callable[[], object]
Result = tuple[Tensor, Tensor]
Spline = Callable[[Tensor, Tensor, bool], Result]


def ours(x: Tensor, params: Tensor, inverse: bool) -> Result:
    """The fused op, a log-det an element as the others have it."""
    return ops.rational_quadratic_spline(x, params, inverse=inverse, reduction="none")


def _parts(x: Tensor, params: Tensor) -> tuple[Tensor, ...]:
    return params.view(*x.shape, PARTS).split([BINS, BINS, BINS - 1], -1)


def of_nflows(x: Tensor, params: Tensor, inverse: bool) -> Result:
    """nflows."""
    from nflows.transforms.splines import rational_quadratic as splines

    out: Result = splines.unconstrained_rational_quadratic_spline(
        x, *_parts(x, params), inverse=inverse, tail_bound=BOUND
    )
    return out


def of_normflows(x: Tensor, params: Tensor, inverse: bool) -> Result:
    """normflows."""
    from normflows.utils import splines

    out: Result = splines.unconstrained_rational_quadratic_spline(
        x, *_parts(x, params), inverse=inverse, tail_bound=BOUND
    )
    return out


def of_zuko(x: Tensor, params: Tensor, inverse: bool) -> Result:
    """zuko; its inverse has the log-det of the map at what it found."""
    import zuko

    spline = zuko.transforms.MonotonicRQSTransform(*_parts(x, params), bound=BOUND)
    if not inverse:
        out: Result = spline.call_and_ladj(x)
        return out
    y = spline._inverse(x)
    return y, -spline.call_and_ladj(y)[1]


PEERS: dict[str, Spline] = {"nflows": of_nflows, "normflows": of_normflows, "zuko": of_zuko}


def implementations() -> dict[str, Spline]:
    """Ours, those that are installed, and the compiled one without a break of its graph."""
    found: dict[str, Spline] = {"flowkernels": ours}
    found |= {name: spline for name, spline in PEERS.items() if have(name)}
    if "zuko" in found:
        # One graph a kind of call: the default cache has room for eight.
        torch._dynamo.config.cache_size_limit = 64
        found["zuko compiled"] = torch.compile(of_zuko, dynamic=False)
    return found


def check_parity(x: Tensor, params: Tensor) -> None:
    """That nothing else is timed than what agrees in float64."""
    for name, spline in PEERS.items():
        if not have(name):
            continue
        convention = "zuko" if name == "zuko" else "nflows"
        for inverse in (False, True):
            got = ops.rational_quadratic_spline(
                x.double(), params.double(), inverse=inverse, reduction="none",
                convention=convention,
            )  # fmt: skip
            for a, b in zip(got, spline(x.double(), params.double(), inverse), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def op_calls(shape: tuple[int, int]) -> Iterator[tuple[str, dict[str, Call]]]:
    """Forward, inverse and forward with backward of every implementation."""
    torch.manual_seed(0)
    x, params = torch.randn(shape), torch.randn(shape[0], shape[1] * PARTS)
    check_parity(x[:64], params[:64])
    grads = torch.randn(shape), torch.randn(shape)

    def plain(spline: Spline, inverse: bool) -> Call:
        return torch.no_grad()(lambda: spline(x, params, inverse))

    def with_backward(spline: Spline) -> Call:
        def call() -> object:
            leaves = x.detach().requires_grad_(), params.detach().requires_grad_()
            return torch.autograd.grad(spline(*leaves, False), leaves, grads)

        return call

    splines = implementations()
    yield "forward", {n: plain(s, False) for n, s in splines.items()}
    yield "inverse", {n: plain(s, True) for n, s in splines.items()}
    yield "forward + backward", {n: with_backward(s) for n, s in splines.items()}


# ---- a training step of a flow ------------------------------------------------------------

DIM, LAYERS, HIDDEN, ROWS = 16, 5, 64, 512


def our_flow() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """Couplings by splines with permutations and LU layers between them."""
    flow = nsf(DIM, layers=LAYERS, hidden=(HIDDEN, HIDDEN), bins=BINS, actnorm=False)
    return flow, flow.log_prob


def nflows_flow() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """nflows: the same layers."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.nn.nets import MLP
    from nflows.transforms import (
        CompositeTransform,
        LULinear,
        PiecewiseRationalQuadraticCouplingTransform,
        RandomPermutation,
    )

    class Network(MLP):
        """Adds the `context` argument that couplings pass."""

        def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
            out: Tensor = super().forward(x)
            return out

    def coupling(i: int) -> nn.Module:
        mask = torch.arange(DIM) < DIM // 2
        layer: nn.Module = PiecewiseRationalQuadraticCouplingTransform(
            mask if i % 2 else ~mask,
            lambda a, b: Network([a], [b], [HIDDEN, HIDDEN]),
            num_bins=BINS, tails="linear", tail_bound=BOUND,
        )  # fmt: skip
        return layer

    layers = [
        layer
        for i in range(LAYERS)
        for layer in (RandomPermutation(DIM), LULinear(DIM), coupling(i))
    ]
    flow = Flow(CompositeTransform(layers), StandardNormal([DIM]))
    return flow, flow.log_prob


def zuko_flow() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """zuko: NSF as couplings (`passes=2`), which has no linear layers between them."""
    import zuko

    flow = zuko.flows.NSF(
        DIM, transforms=LAYERS, hidden_features=(HIDDEN, HIDDEN), bins=BINS, passes=2
    )
    return flow, lambda x: flow().log_prob(x)


def flow_calls() -> dict[str, Call]:
    """A step by maximum likelihood of every implementation."""
    torch.manual_seed(0)
    x = torch.randn(ROWS, DIM)
    flows = {"flowkernels": our_flow()}
    if have("nflows"):
        flows["nflows"] = nflows_flow()
    if have("zuko"):
        flows["zuko"] = zuko_flow()
    return {n: training_step(m, lambda f=f: -f(x).mean()) for n, (m, f) in flows.items()}


# ---- timing ---------------------------------------------------------------------------------


def medians(calls: dict[str, Call], given: argparse.Namespace) -> dict[str, float]:
    """Seconds of a call."""
    seconds = interleave(calls, given.rounds, given.clock, BLOCK_SECONDS)
    return {name: statistics.median(each) for name, each in seconds.items()}


def line(what: str, median: dict[str, float], unit: float, digits: int) -> float:
    """Prints a line; returns how many times as long as ours the fastest other one takes."""
    own = median["flowkernels"]
    shown = (f"{n} {t * unit:.{digits}f} ({t / own:.1f})" for n, t in median.items())
    print(f"{what}: " + ", ".join(shown), flush=True)
    return min(t for name, t in median.items() if name != "flowkernels") / own


def main() -> None:
    """Prints a line for each size and direction, and for the training step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    given = parser.parse_args()
    if not any(have(name) for name in PEERS):
        parser.error("none of nflows, normflows and zuko is installed (extra `peers`)")
    torch.set_num_threads(given.threads)
    warnings.simplefilter("ignore")  # the libraries' own
    print(f"{given.threads} thread(s); (times as long as ours)")
    ratios = [
        line(f"{shape} {task}, ns an element", medians(calls, given), 1e9 / math.prod(shape), 1)
        for shape in SIZES
        for task, calls in op_calls(shape)
    ]
    print(
        f"fastest peer over ours: geometric mean {statistics.geometric_mean(ratios):.1f}, "
        f"least {min(ratios):.1f}"
    )
    line(
        f"training step of {LAYERS} layers, D = {DIM}, {ROWS} rows, ms",
        medians(flow_calls(), given), 1e3, 2,
    )  # fmt: skip


if __name__ == "__main__":
    main()
