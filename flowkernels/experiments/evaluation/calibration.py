"""Calibration of a conditional density p(x | c): how often its credible sets hold the truth.

If x_i is a draw from p(. | c_i) like the samples x_i1, ..., x_iN, then its rank among them, by any
function of x and c, is uniform on 0, ..., N. Two functions are used:

    highest density    log p(x | c): Hyndman, "Computing and graphing highest density regions"
                       (1996); as a check of simulation-based inference, Hermans et al., "A crisis
                       in simulation-based inference?" (2022, arXiv 2110.06581), section 3.
    distance           -|x - r| for a random reference point r: TARP, Lemos et al.,
                       "Sampling-based accuracy testing of posterior estimators for general
                       inference" (2023, arXiv 2302.03026), algorithm 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from flowkernels.experiments.evaluation.noise import fixed_noise
from flowkernels.flows import Flow

__all__ = ["LEVELS", "Coverage", "Ranks", "binomial_band", "calibrate", "coverage"]

_BLOCK = 200_000
_SEED = 4_181_996
# Levels at which coverage is reported.
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95)


@dataclass(frozen=True)
class Ranks:
    """The ranks of held-out data among samples.

    Attributes:
        density: (n,) whole numbers: of N samples at row i's context, how many have a higher
            density than row i.
        distance: (n,): how many are closer to row i's reference point than row i.
        samples: N.
    """

    density: Tensor
    distance: Tensor
    samples: int


@dataclass(frozen=True)
class Coverage:
    """Empirical coverage at nominal levels.

    Attributes:
        nominal: (N + 1,) levels k / (N + 1), k = 1, ..., N + 1.
        empirical: (N + 1,) share of the data whose rank is below k.
        count: n, the number of data.
        distance: max |empirical - nominal|, the Kolmogorov-Smirnov statistic of the ranks.
        p_value: the probability of such a distance, or a larger one, if the density is calibrated.
    """

    nominal: Tensor
    empirical: Tensor
    count: int
    distance: float
    p_value: float

    def at(self, level: float) -> tuple[float, float]:
        """Coverage at the nominal level next to `level`, and its standard error."""
        nearest = int((self.nominal - level).abs().argmin())
        share = float(self.nominal[nearest])
        return float(self.empirical[nearest]), math.sqrt(share * (1 - share) / self.count)


def coverage(ranks: Tensor, samples: int) -> Coverage:
    """Coverage of the sets that hold k of N + 1 equal shares of the probability, k = 1 to N + 1.

    A datum of rank r is in the set of level k / (N + 1) if r < k. For a calibrated density the
    number of data in it is binomial with n and k / (N + 1), exactly, for any N. The p-value is
    Kolmogorov's, 2 sum_j (-1)^(j-1) exp(-2 j^2 n D^2), which is too large for few samples
    N, never too small.

    Args:
        ranks: (n,) whole numbers from 0 to N.
        samples: N.

    Raises:
        ValueError: there are no ranks, or one is not from 0 to N.

    Example:
        >>> found = coverage(torch.arange(0, 100), 99)
        >>> round(found.distance, 6), found.p_value
        (0.0, 1.0)
        >>> overconfident = coverage(torch.full((100,), 99), 99)
        >>> overconfident.at(0.5)
        (0.0, 0.05)
    """
    if ranks.ndim != 1 or not len(ranks) or int(ranks.min()) < 0 or int(ranks.max()) > samples:
        raise ValueError(
            f"ranks: expected numbers (n,) from 0 to {samples}, got shape {tuple(ranks.shape)}"
            + (f" from {int(ranks.min())} to {int(ranks.max())}" if ranks.numel() else "")
        )
    counts = torch.bincount(ranks, minlength=samples + 1).cumsum(0)
    nominal = torch.arange(1, samples + 2, dtype=torch.float64) / (samples + 1)
    empirical = counts.double() / len(ranks)
    distance = float((empirical - nominal).abs().max())
    return Coverage(nominal, empirical, len(ranks), distance, _kolmogorov(len(ranks), distance))


def binomial_band(nominal: Tensor, count: int, level: float = 0.95) -> tuple[Tensor, Tensor]:
    """The shares between which those of `count` draws with these probabilities lie, at `level`.

    Quantiles of the binomial distribution, pointwise: (1 - level) / 2 lies below the first and
    above the second.

    Args:
        nominal: (k,) probabilities.
        count: n.
        level: of the band.

    Example:
        >>> low, high = binomial_band(torch.tensor([0.5]), 100)
        >>> round(float(low), 2), round(float(high), 2)
        (0.4, 0.6)
    """
    k = torch.arange(count + 1, dtype=torch.float64)
    choose = math.lgamma(count + 1) - torch.lgamma(k + 1) - torch.lgamma(count - k + 1)
    bounds = []
    for share in nominal.double().tolist():
        log_p = choose + torch.xlogy(k, torch.tensor(share)) + torch.xlogy(
            count - k, torch.tensor(1 - share)
        )  # fmt: skip
        below = log_p.exp().cumsum(0)
        tail = (1 - level) / 2
        low = int((below < tail).sum())
        high = min(count, int((below < 1 - tail).sum()))
        bounds.append((low / count, high / count))
    low_high = torch.tensor(bounds, dtype=torch.float64).reshape(-1, 2)
    return low_high[:, 0], low_high[:, 1]


@torch.no_grad()
def calibrate(
    flow: Flow,
    x: Tensor,
    context: Tensor | None,
    reference: Tensor,
    *,
    unit: Tensor | None = None,
    samples: int = 500,
    seed: int = _SEED,
    on_batch: Callable[[int], None] | None = None,
) -> Ranks:
    """The ranks of held-out rows among samples of a flow.

    Every row has samples of its own, also without a context, so that ranks are independent. A row
    is placed at random among equal values.

    Args:
        flow: p(x | context), or p(x); it is evaluated on its device.
        x: (n, d).
        context: (n, c), or None.
        reference: (n, d), a point for each row that may depend on its context but not on the row,
            see :func:`flowkernels.experiments.evaluation.rows.reference_points`.
        unit: (d,), of each column in distances; default 1.
        samples: N, for each row.
        seed: of the samples; torch's random state is restored.
        on_batch: called with the number of rows after every batch.
    """
    device = flow.device
    unit = torch.ones(()) if unit is None else unit
    unit = unit.to(device, x.dtype)
    density, distance = [], []
    step = max(1, _BLOCK // samples)
    with fixed_noise(seed, device):
        for start in range(0, len(x), step):
            rows = x[start : start + step].to(device)
            if context is None:
                drawn, of_drawn = flow.sample_and_log_prob((len(rows), samples))
                of_rows = flow.log_prob(rows)
            else:
                own = context[start : start + step].to(device)
                drawn, of_drawn = flow.sample_and_log_prob(samples, own)
                of_rows = flow.log_prob(rows, own)
            points = reference[start : start + step].to(rows)
            own_distance = ((rows - points) / unit).square().sum(-1)
            distances = ((drawn - points.unsqueeze(1)) / unit).square().sum(-1)
            density.append(_ranks(-of_rows, -of_drawn))
            distance.append(_ranks(own_distance, distances))
            if on_batch is not None:
                on_batch(len(rows))
    return Ranks(torch.cat(density), torch.cat(distance), samples)


def _ranks(own: Tensor, others: Tensor) -> Tensor:
    """How many of the others (n, N) are below own (n,), which is placed at random among equals."""
    below = (others < own.unsqueeze(-1)).sum(-1)
    equal = (others == own.unsqueeze(-1)).sum(-1)
    rank = below + (torch.rand(equal.shape, device=equal.device) * (equal + 1)).long()
    return torch.minimum(rank, below + equal).cpu()


def _kolmogorov(count: int, distance: float) -> float:
    """P(sqrt(n) D > sqrt(n) d) as n grows, by Kolmogorov's series."""
    square = count * distance**2
    if square < 0.04:  # the series converges slowly, to 1 within 1e-12
        return 1.0
    terms = (2 * (-1) ** (j - 1) * math.exp(-2 * j * j * square) for j in range(1, 101))
    return min(1.0, max(0.0, sum(terms)))
