"""Scores of a flow and of a Gaussian on a table's rows."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from flowkernels.bijections import Compose, Standardize
from flowkernels.experiments.evaluation.metrics import MeanScore
from flowkernels.experiments.evaluation.noise import fixed_noise
from flowkernels.flows import Flow

__all__ = ["LinearGaussian", "log_likelihoods", "log_scale", "mean_score", "reference_points"]

_BATCH = 4096
_SEED = 20_260_203


@torch.no_grad()
def log_likelihoods(
    flow: Flow,
    x: Tensor,
    context: Tensor | None,
    on_batch: Callable[[int], None] | None = None,
) -> Tensor:
    """log p(x | context) of rows (n, d), in nats, (n,) float64 on the CPU."""
    found = []
    for start in range(0, len(x), _BATCH):
        rows = x[start : start + _BATCH].to(flow.device)
        if context is None:
            found.append(flow.log_prob(rows).double().cpu())
        else:
            own = context[start : start + _BATCH].to(flow.device)
            found.append(flow.log_prob(rows, own).double().cpu())
        if on_batch is not None:
            on_batch(len(rows))
    return torch.cat(found)


def mean_score(values: Tensor) -> dict[str, float]:
    """The mean of values (n,), its standard error, and n.

    Example:
        >>> mean_score(torch.tensor([3.0, 5.0]))
        {'mean': 4.0, 'standard_error': 1.0, 'count': 2.0}
    """
    metric = MeanScore()
    metric.update(values)
    return {name: float(value) for name, value in metric.compute().items()}


def log_scale(flow: Flow) -> float:
    """The sum of log scale of a flow whose first layer standardises.

    A density of standardised columns z = (x - loc) / scale has log p(z) = log p(x) + sum log scale.

    Raises:
        TypeError: the flow's first layer does not standardise.
    """
    layers = flow.bijection
    first = layers.bijections[0] if isinstance(layers, Compose) else None
    if not isinstance(first, Standardize):
        raise TypeError(f"flow: expected a Standardize as first layer, got {type(first).__name__}")
    return float(first.scale.double().log().sum())


class LinearGaussian:
    """x | c = W c + b + noise, noise normal with a full covariance: the simplest peer of a flow.

    Maximum likelihood: least squares, and the covariance of the residuals. It is computed in
    float64 on standardised columns.

    Args:
        x: (n, d) training rows.
        context: (n, c), or None.

    Example:
        >>> x = torch.randn(1000, 2)
        >>> round(float(LinearGaussian(x).log_prob(x).mean()))  # -log(2 pi e)
        -3
    """

    def __init__(self, x: Tensor, context: Tensor | None = None) -> None:
        self._x = Standardize.of(x.double())
        self._context = None if context is None else Standardize.of(context.double())
        inputs, outputs = self._inputs(len(x), context), self._x(x.double())[0]
        self._weight = torch.linalg.lstsq(inputs, outputs, driver="gelsd").solution
        residuals = outputs - inputs @ self._weight
        self._factor, failed = torch.linalg.cholesky_ex(residuals.T @ residuals / len(x))
        # A smaller diagonal element is rounding.
        self._singular = bool(failed) or float(self._factor.diagonal().min()) < 1e-6

    def mean(self, count: int, context: Tensor | None = None) -> Tensor:
        """E[x | context] for contexts (n, c), or n = count times E[x]; (n, d) float64."""
        return self._x.inverse(self._inputs(count, context) @ self._weight)[0]

    def log_prob(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """log p(x | context) of rows (n, d), in nats, (n,) float64.

        Raises:
            ValueError: the residuals' covariance is singular: a column is a linear function of
                others.
        """
        if self._singular:
            raise ValueError("x: expected columns of which none is a linear function of others")
        outputs, log_det = self._x(x.double())
        residuals = outputs - self._inputs(len(x), context) @ self._weight
        white = torch.linalg.solve_triangular(self._factor, residuals.T, upper=False)
        constant = self._factor.diagonal().log().sum() + x.shape[1] * math.log(2 * math.pi) / 2
        return log_det - constant - white.square().sum(0) / 2

    def _inputs(self, count: int, context: Tensor | None) -> Tensor:
        one = torch.ones(count, 1, dtype=torch.float64)
        if self._context is None or context is None:
            return one
        return torch.cat([self._context(context.double())[0], one], 1)


def reference_points(
    linear: LinearGaussian,
    x: Tensor,
    context: Tensor | None,
    count: int,
    at: Tensor | None = None,
    *,
    seed: int = _SEED,
) -> Tensor:
    """Random reference points for TARP: (count, d), at contexts `at` (count, c).

    Each is a random training row, moved by the linear prediction from its context to the given one.
    Points that depend on the context also find a density that ignores it: with others, p(x) in
    place of p(x | c) would look calibrated (Lemos et al. 2023, section 3).

    Args:
        linear: fitted to the training rows.
        x: (n, d) training rows.
        context: (n, c) of the training rows, or None.
        count: number of points.
        at: contexts of the points, or None.
        seed: of the choice.
    """
    with fixed_noise(seed):
        chosen = torch.randint(len(x), (count,))
    from_context = None if context is None else context[chosen]
    moved = linear.mean(count, at) - linear.mean(count, from_context)
    return (x[chosen].double() + moved).to(x.dtype)
