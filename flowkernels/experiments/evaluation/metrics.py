"""Scores that are accumulated over batches."""

from __future__ import annotations

import torch
import torchmetrics
from torch import Tensor

__all__ = ["BitsPerDim"]


class BitsPerDim(torchmetrics.Metric):
    """Mean bits per dimension over images, with the standard error of that mean.

    mean = sum b_i / n, standard error = sqrt(sum (b_i - mean)^2 / (n (n - 1))), which covers the
    test images and the dequantisation noise. Sums are in float64; torchmetrics adds up the
    processes.

    Example:
        >>> metric = BitsPerDim()
        >>> metric.update(torch.tensor([3.0, 5.0]))
        >>> {name: float(value) for name, value in metric.compute().items()}
        {'bpd': 4.0, 'standard_error': 1.0, 'count': 2.0}
    """

    full_state_update = False
    higher_is_better = False
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "squares", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, bits: Tensor) -> None:
        """Add images' bits per dimension (B,).

        Raises:
            ValueError: ``bits`` is not one-dimensional.
        """
        if bits.ndim != 1:
            raise ValueError(f"bits: expected shape (B,), got {tuple(bits.shape)}")
        values = bits.detach().double()
        self.total += values.sum()
        self.squares += values.square().sum()
        self.count += len(values)

    def compute(self) -> dict[str, Tensor]:
        """``bpd``, ``standard_error`` (nan for one image) and ``count``, as float64 scalars."""
        mean = self.total / self.count
        deviations = (self.squares - self.count * mean.square()).clamp_min(0)
        error = (deviations / (self.count * (self.count - 1))).sqrt()
        return {"bpd": mean, "standard_error": error, "count": self.count.clone()}
