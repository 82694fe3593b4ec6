"""Scores that are accumulated over batches."""

from __future__ import annotations

import torch
import torchmetrics
from torch import Tensor

__all__ = ["BitsPerDim", "MeanScore"]


class MeanScore(torchmetrics.Metric):
    """The mean of a score over data, with the standard error of that mean.

    mean = sum b_i / n, standard error = sqrt(sum (b_i - mean)^2 / (n (n - 1))). Sums are in
    float64; torchmetrics adds up the processes.

    Attributes:
        score_name: what ``compute`` calls the mean.

    Example:
        >>> metric = MeanScore()
        >>> metric.update(torch.tensor([3.0, 5.0]))
        >>> {name: float(value) for name, value in metric.compute().items()}
        {'mean': 4.0, 'standard_error': 1.0, 'count': 2.0}
    """

    score_name = "mean"

    full_state_update = False
    higher_is_better = False
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "squares", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, scores: Tensor) -> None:
        """Add a batch's scores (B,).

        Raises:
            ValueError: ``scores`` is not one-dimensional.
        """
        if scores.ndim != 1:
            raise ValueError(f"scores: expected shape (B,), got {tuple(scores.shape)}")
        values = scores.detach().double()
        self.total += values.sum()
        self.squares += values.square().sum()
        self.count += len(values)

    def compute(self) -> dict[str, Tensor]:
        """The mean, ``standard_error`` (nan for one datum) and ``count``, as float64 scalars."""
        mean = self.total / self.count
        deviations = (self.squares - self.count * mean.square()).clamp_min(0)
        error = (deviations / (self.count * (self.count - 1))).sqrt()
        return {self.score_name: mean, "standard_error": error, "count": self.count.clone()}


class BitsPerDim(MeanScore):
    """Mean bits per dimension over images; the error covers images and dequantisation noise.

    Example:
        >>> metric = BitsPerDim()
        >>> metric.update(torch.tensor([3.0, 5.0]))
        >>> {name: float(value) for name, value in metric.compute().items()}
        {'bpd': 4.0, 'standard_error': 1.0, 'count': 2.0}
    """

    score_name = "bpd"
