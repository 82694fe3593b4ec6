"""python -m benchmarks.autoregressive: masked autoregressive flows beside those of other libraries.

5 layers with two hidden layers of 64, affine or splines of 8 bins, 1000 points of 16 and of 64
dimensions: sampling, the density of data, and a training step by maximum likelihood. Needs the
extra `peers`.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterator
from typing import get_args

import torch
from torch import Tensor, nn

from flowkernels.flows import maf
from flowkernels.flows.maf import AutoregressiveTransform

from .interleaved import CLOCKS, interleave
from .steps import have, training_step

LAYERS, HIDDEN, POINTS = 5, 64, 1000
DIMS = (16, 64)
BLOCK_SECONDS = 0.01  # some calls of ours for one of the slowest
Call = Callable[[], object]
# name: (module, its samples, its density of x)
Model = tuple[nn.Module, Call, Callable[[Tensor], Tensor]]


@torch.no_grad()
def away_from_zero(module: nn.Module) -> nn.Module:
    """Moves every parameter: new flows may be the identity."""
    for parameter in module.parameters():
        parameter.add_(0.05 * torch.randn_like(parameter))
    return module


def ours(dim: int, transform: AutoregressiveTransform) -> Model:
    """Layers without actnorm, as in the other libraries."""
    flow = maf(dim, layers=LAYERS, hidden=(HIDDEN, HIDDEN), transform=transform, actnorm=False)
    away_from_zero(flow)
    return flow, lambda: flow.sample(POINTS), flow.log_prob


def of_nflows(dim: int, transform: AutoregressiveTransform) -> Model:
    """nflows: feed-forward masked networks, without batch normalisation."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow as Peer
    from nflows.transforms import CompositeTransform, ReversePermutation, autoregressive

    def layer() -> nn.Module:
        if transform == "affine":
            made: nn.Module = autoregressive.MaskedAffineAutoregressiveTransform(
                dim, HIDDEN, num_blocks=2, use_residual_blocks=False
            )
        else:
            made = autoregressive.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                dim, HIDDEN, num_bins=8, tails="linear", tail_bound=3.0, num_blocks=2,
                use_residual_blocks=False,
            )  # fmt: skip
        return CompositeTransform([ReversePermutation(dim), made])

    peer = Peer(CompositeTransform([layer() for _ in range(LAYERS)]), StandardNormal([dim]))
    return peer, lambda: peer.sample(POINTS), peer.log_prob


def of_zuko(dim: int, transform: AutoregressiveTransform) -> Model:
    """zuko: MAF and NSF, which is autoregressive."""
    import zuko

    kind = zuko.flows.MAF if transform == "affine" else zuko.flows.NSF
    peer = kind(dim, transforms=LAYERS, hidden_features=(HIDDEN, HIDDEN))
    return peer, lambda: peer().sample((POINTS,)), lambda x: peer().log_prob(x)


PEERS = {"nflows": of_nflows, "zuko": of_zuko}


def without_gradients(call: Call) -> Call:
    """A call under no_grad."""
    return torch.no_grad()(call)


def tasks(dim: int, transform: AutoregressiveTransform) -> Iterator[tuple[str, dict[str, Call]]]:
    """What is timed, for every implementation."""
    torch.manual_seed(0)
    x = torch.randn(POINTS, dim)
    models = {"flowkernels": ours(dim, transform)}
    models |= {name: make(dim, transform) for name, make in PEERS.items() if have(name)}
    yield "sample", {n: without_gradients(sample) for n, (_, sample, _) in models.items()}
    yield (
        "log_prob",
        {n: without_gradients(lambda f=density: f(x)) for n, (_, _, density) in models.items()},
    )
    yield (
        "training step",
        {n: training_step(m, lambda f=f: -f(x).mean()) for n, (m, _, f) in models.items()},
    )


def main() -> None:
    """Prints a line for each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{given.threads} thread(s), {POINTS} points, milliseconds (times as long as ours)")
    for transform, dim in itertools.product(get_args(AutoregressiveTransform), DIMS):
        for task, calls in tasks(dim, transform):
            seconds = interleave(calls, given.rounds, given.clock, BLOCK_SECONDS)
            median = {name: 1e3 * statistics.median(each) for name, each in seconds.items()}
            own = median["flowkernels"]
            shown = (f"{name} {each:.2f} ({each / own:.1f})" for name, each in median.items())
            print(f"{transform}, D = {dim}, {task}: " + ", ".join(shown))


if __name__ == "__main__":
    main()
