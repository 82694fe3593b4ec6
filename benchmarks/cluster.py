"""python -m benchmarks.cluster: the speed of an EM pass for a mixture of von Mises-Fisher.

Times an E step with the M step that follows, as `VonMisesFisherMixture.fit` runs them, beside the
two matrix products in it alone (points by directions, responsibilities by points), which no EM can
do without; interleaved. `--clock cpu` is for one thread on a machine that does other work. With
`--peer PYTHON`, where that Python has spherecluster
(`benchmarks/cluster_peer.py`), its pass too, in turns with ours. Writes cluster.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from flowkernels.cluster._group import Group
from flowkernels.cluster._mixture import Mixture
from flowkernels.cluster._sources import Points

from . import files, machine
from .interleaved import CLOCKS, Block, Peers, compare

CASES = {"(100000, 128), K = 50": (100_000, 128, 50), "(20000, 4096), K = 20": (20_000, 4096, 20)}
PRODUCTS = "two matrix products"


def points(n: int, p: int, k: int) -> Tensor:
    """Unit vectors around k directions, float32."""
    torch.manual_seed(0)
    centres = torch.randn(k, p)
    x = torch.randn(n, p).add_(centres[torch.randint(k, (n,))])
    return torch.nn.functional.normalize(x, dim=1)


def em_pass(x: Tensor, k: int) -> Callable[[], object]:
    """An E step and the M step that follows, from the same components each time."""
    group = Group("benchmark", False)
    source = Points("benchmark", x, None, True)
    assert source.ready
    model = Mixture(False, False, None, 0.0, 0.0, x.dtype)
    state = model.start(x[:k].double(), source, group)

    def call() -> object:
        return model.update(state, model.evaluate(state, source, group), source, group)

    return call


def products(x: Tensor, k: int) -> Callable[[], object]:
    """The products alone, into memory that is already there."""
    locs, z, sums = x[:k].T.contiguous(), x.new_empty(len(x), k), x.new_empty(k, x.shape[1])

    def call() -> object:
        torch.mm(x, locs, out=z)
        return torch.mm(z.T, x, out=sums)

    return call


def against_products(x: Tensor, k: int, given: argparse.Namespace) -> dict[str, Any]:
    """Interleaved rounds of the pass and of its products."""
    ours, seconds = Block.of(em_pass(x, k)), []
    peers, clock = Peers({PRODUCTS: products(x, k)}, given.clock), CLOCKS[given.clock]
    for _ in range(given.rounds):
        start = clock()
        ours()
        seconds.append((clock() - start) / ours.calls)
        peers()
    found = compare(seconds, peers.seconds)
    return {
        "milliseconds": {name: round(us / 1e3, 3) for name, us in found.microseconds.items()},
        "pass / products": round(1 / found.ratio, 3),
        "quartiles": [round(1 / found.high, 3), round(1 / found.low, 3)],
    }


def against_peer(x: Tensor, k: int, given: argparse.Namespace) -> dict[str, Any]:
    """Turns of ours and of spherecluster, each a process's passes after one to warm up."""
    ours: list[float] = []
    theirs: list[float] = []
    call, clock, finite = em_pass(x, k), CLOCKS[given.clock], True
    environment = {**os.environ, "OMP_NUM_THREADS": str(given.threads)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "points.npy")
        np.save(file, x.numpy())
        for _ in range(given.peer_rounds):
            call()
            for _ in range(given.peer_passes):
                start = clock()
                call()
                ours.append(clock() - start)
            script = Path(__file__).with_name("cluster_peer.py")
            passes = str(given.peer_passes + 1)
            command = [given.peer, str(script), str(file), str(k), passes, given.clock]
            run = subprocess.run(
                command, capture_output=True, text=True, check=True, env=environment
            )
            found = json.loads(run.stdout)
            theirs += found["seconds"][1:]
            finite = finite and found["finite"]
    return {
        "seconds": {
            "flowkernels": round(statistics.median(ours), 4),
            "spherecluster": round(statistics.median(theirs), 4),
        },
        "spherecluster / ours": round(statistics.median(theirs) / statistics.median(ours), 1),
        "spherecluster's components are finite": finite,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--peer", help="a Python that has spherecluster")
    parser.add_argument("--peer-rounds", type=int, default=2)
    parser.add_argument("--peer-passes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cluster.json"))
    given = parser.parse_args()
    if given.clock == "cpu" and given.threads > 1:
        parser.error("--clock cpu measures one thread: --threads 1")
    torch.set_num_threads(given.threads)
    results: dict[str, Any] = {}
    for name, (n, p, k) in CASES.items():
        x = points(n, p, k)
        results[name] = against_products(x, k, given)
        print(name, results[name], flush=True)
        if given.peer:
            found = against_peer(x, k, given)
            results[name]["peer"] = found
            print(name, found, flush=True)
    facts = {"machine": machine.facts(), "threads": given.threads, "clock": given.clock}
    facts |= {"rounds": given.rounds}
    files.write_text(given.out, json.dumps({**facts, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
