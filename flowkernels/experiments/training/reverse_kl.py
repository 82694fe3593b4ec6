"""Fitting a flow to an unnormalised density: KL(flow || target) and importance weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from flowkernels.bases import ResampledBase
from flowkernels.flows import Flow

__all__ = ["effective_sample_size", "importance_log_weights", "log_mean_exp", "reverse_kl"]

LogDensity = Callable[[Tensor], Tensor]


def reverse_kl(flow: Flow, log_density: LogDensity, count: int) -> Tensor:
    """An estimate of KL(flow || target) - log Z_target with an unbiased gradient.

    KL = E_z[log p(z) - log|det dx/dz| - log target(x(z))] over z from the base p. For a
    reparametrised base, the gradient is that of the mean over draws. For a resampled base, the
    gradient of the flow is pathwise at fixed draws z, and that of the base is the centred score
    function (Stimper, Schoelkopf & Hernandez-Lobato 2022, section 3.2)

        sum_i (h_i - mean h) grad log p(z_i) / (n - 1),   h = log p - log|det| - log target,

    with n - 1 because each term is part of the mean. Centring removes most of the variance and
    the contribution of the gradient of log Z, which is the same in every row.

    Args:
        flow: a flow on vectors; in training mode a resampled base updates its Z, see
            :class:`flowkernels.bases.ResampledBase`.
        log_density: (n, d) -> (n,), the target's log density up to a constant.
        count: n, the number of draws, at least 2.

    Returns:
        A scalar, in nats.

    Raises:
        ValueError: `count` is below 2.

    Example:
        >>> from flowkernels.flows import realnvp
        >>> from flowkernels.experiments.targets import DoubleWell
        >>> flow = realnvp(2, layers=2, hidden=8, base="resampled", actnorm=False)
        >>> loss = reverse_kl(flow, DoubleWell().log_prob, 64)
        >>> loss.backward()
        >>> loss.shape
        torch.Size([])
    """
    if count < 2:
        raise ValueError(f"count must be at least 2, got {count}")
    if not isinstance(flow.base, ResampledBase):
        x, log_prob = flow.rsample_and_log_prob(count)
        return (log_prob - log_density(x)).mean()
    z = flow.base.sample(count)
    x, log_det = flow.inverse(z)
    log_base = flow.base.log_prob(z)
    cost = -log_det - log_density(x)
    h = (log_base + cost).detach()
    score = ((h - h.mean()) * log_base).sum() / (count - 1)
    gradient = score + cost.mean()
    return h.mean() + gradient - gradient.detach()


@torch.no_grad()
def importance_log_weights(
    flow: Flow, log_density: LogDensity, count: int, *, batch: int = 10_000
) -> tuple[Tensor, Tensor]:
    """Draws x (count, d) of the flow, and log target(x) - log flow(x) (count,) in float64."""
    rows, weights = [], []
    for start in range(0, count, batch):
        n = min(batch, count - start)
        z = flow.base.sample(n)
        x, log_det = flow.inverse(z)
        rows.append(x)
        weights.append((log_density(x) - flow.base.log_prob(z) + log_det).double())
    return torch.cat(rows), torch.cat(weights)


def log_mean_exp(log_weights: Tensor) -> tuple[float, float]:
    """log of the mean weight, an estimate of log Z, and its standard error by the delta method.

    Example:
        >>> value, error = log_mean_exp(torch.zeros(10, dtype=torch.float64))
        >>> abs(value) < 1e-12, abs(error) < 1e-12
        (True, True)
    """
    value = float(log_weights.logsumexp(0)) - math.log(len(log_weights))
    spread = torch.exp(log_weights - value).std() / math.sqrt(len(log_weights))
    return value, float(spread)


def effective_sample_size(log_weights: Tensor) -> float:
    """(sum w)^2 / (n sum w^2), between 1/n and 1 (Kish).

    Example:
        >>> round(effective_sample_size(torch.zeros(10)), 6)
        1.0
    """
    weights = torch.softmax(log_weights.double(), 0)
    return 1 / (len(weights) * float(weights.square().sum()))
