"""python -m benchmarks.spherical: the von Mises-Fisher's fit and sampler beside others.

    solvers    the concentration from the mean's length, against 50-digit roots
    shrinkage  bias and error of the fits for few samples
    sampling   points a second at p = 1024

Each prints a table and writes benchmarks/results/spherical_<name>.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mpmath import mp
from scipy import stats

from flowkernels import ops
from flowkernels.distributions import VonMisesFisher

from . import files
from .interleaved import interleave
from .machine import facts
from .spherical_peers import DIGITS, SOLVERS, exact_ratio, exact_root, wood_torch

RESULTS = Path(__file__).parent / "results"
DIMS, KAPPAS = (3, 16, 64, 256, 1024, 4096), (1.0, 10.0, 50.0, 200.0, 1000.0)
SHRINKAGE = tuple((p, n, k * p) for p in (3, 30, 300, 3000) for n in (10, 100) for k in (0.1, 1.0))
CORRECTIONS = ("none", "resultant", "marginal")
BATCHES = 400
LARGE = (4096, 20_000, 1.0, 8)  # p, n, kappa, repetitions
SAMPLED_DIM, POINTS, SAMPLED_KAPPAS = 1024, 1000, (100.0, 1024.0)
BLOCK_SECONDS = 0.05


def ours(dim: int, r: float) -> float:
    """The op in float64."""
    return float(ops.vmf_concentration(torch.tensor(r, dtype=torch.float64), dim))


def solvers(given: argparse.Namespace) -> dict[str, Any]:
    """Relative errors of every solver against the root of A_p(kappa) = r for the same double r."""
    every = {**SOLVERS, "flowkernels": ours}
    rows = []
    with mp.workdps(DIGITS), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for dim in DIMS:
            for kappa in KAPPAS:
                r = float(exact_ratio(dim, kappa))
                root = exact_root(dim, r, kappa)
                row: dict[str, Any] = {"p": dim, "kappa": kappa}
                for name, solve in every.items():
                    value = math.nan
                    with contextlib.suppress(ValueError, ZeroDivisionError, RuntimeError):
                        value = solve(dim, r)
                    error = float(abs(value / root - 1)) if math.isfinite(value) else None
                    row[name] = error
                rows.append(row)
                print(_line(row))
    return {"rows": rows, "digits": DIGITS}


def shrinkage(given: argparse.Namespace) -> dict[str, Any]:
    """Bias and root mean squared error of the concentration, in units of the true one."""
    rows = []
    for p, n, kappa in SHRINKAGE:
        x = VonMisesFisher(_axis(p), kappa).sample((n, BATCHES))
        rows.append({"p": p, "n": n, "kappa": kappa, "fits": BATCHES} | _errors(x, kappa))
        print(_line(rows[-1]))
    p, n, kappa, repetitions = LARGE
    law = VonMisesFisher(_axis(p), kappa)
    found = [
        [VonMisesFisher.fit(x, correction=c).concentration for c in CORRECTIONS]
        for x in (law.sample((n,)) for _ in range(repetitions))
    ]
    rows.append(
        {"p": p, "n": n, "kappa": kappa, "fits": repetitions}
        | _summary(torch.tensor(found, dtype=torch.float64).T, kappa)
    )
    print(_line(rows[-1]))
    return {"rows": rows}


def _errors(x: torch.Tensor, kappa: float) -> dict[str, float]:
    fits = [VonMisesFisher.fit(x, correction=c).concentration for c in CORRECTIONS]
    return _summary(torch.stack(fits), kappa)


def _summary(fits: torch.Tensor, kappa: float) -> dict[str, float]:
    out = {}
    for name, each in zip(CORRECTIONS, fits, strict=True):
        error = (each - kappa) / kappa
        out[f"{name} bias"] = error.mean().item()
        out[f"{name} rmse"] = error.square().mean().sqrt().item()
    return out


def sampling(given: argparse.Namespace) -> dict[str, Any]:
    """Points a second, in interleaved rounds; process time for one thread, wall time for more.

    SciPy's linear algebra has threads of its own: start with OPENBLAS_NUM_THREADS as `--threads`.
    """
    torch.set_num_threads(given.threads)
    clock = "cpu" if given.threads == 1 else "wall"
    path = RESULTS / "spherical_sampling.json"
    known = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [row for row in known if row["threads"] != given.threads]
    for kappa in SAMPLED_KAPPAS:
        seconds = interleave(samplers(kappa), given.rounds, clock, BLOCK_SECONDS)
        row: dict[str, Any] = {"p": SAMPLED_DIM, "kappa": kappa, "threads": given.threads}
        for name, times in seconds.items():
            row[name] = POINTS / statistics.median(times)
        rows.append(row | {"busy": facts()["busy"]})
        print(_line(rows[-1]))
    rows.sort(key=lambda row: (row["threads"], row["kappa"]))
    return {"rows": rows, "points": POINTS, "rounds": given.rounds}


def samplers(kappa: float) -> dict[str, Callable[[], object]]:
    """Draws of POINTS points around a direction that is no axis."""
    loc = torch.nn.functional.normalize(torch.ones(SAMPLED_DIM, dtype=torch.float64), dim=0)
    peer, rng = stats.vonmises_fisher(loc.numpy(), kappa), np.random.default_rng(0)
    narrow, wide = VonMisesFisher(loc.float(), kappa), VonMisesFisher(loc, kappa)
    return {
        "SciPy": lambda: peer.rvs(POINTS, random_state=rng),
        "torch float64": lambda: wood_torch(loc, kappa, POINTS),
        "flowkernels float64": lambda: wide.sample((POINTS,)),
        "flowkernels float32": lambda: narrow.sample((POINTS,)),
    }


def _axis(p: int) -> torch.Tensor:
    return torch.eye(1, p, dtype=torch.float64)[0]


def _line(row: dict[str, Any]) -> str:
    """A row of a table."""
    cells = (
        "fail" if v is None else f"{v:.2g}" if abs(v) < 1000 else f"{v:.0f}" for v in row.values()
    )
    return "| " + " | ".join(cells) + " |"


COMMANDS = {"solvers": solvers, "shrinkage": shrinkage, "sampling": sampling}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=list(COMMANDS))
    parser.add_argument("--rounds", type=int, default=11, help="of sampling")
    parser.add_argument("--threads", type=int, default=1, help="of sampling")
    given = parser.parse_args()
    torch.manual_seed(0)
    found = {"machine": facts()} | COMMANDS[given.what](given)
    print("| " + " | ".join(found["rows"][0]) + " |")
    files.write_text(RESULTS / f"spherical_{given.what}.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
