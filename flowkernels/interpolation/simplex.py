"""The straight line on the simplex, between latents that are mapped onto it."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from flowkernels.bijections.simplex import AdditiveLogRatio

from .paths import Path, aligned, register_path


class LogSimplexMap(Protocol):
    """A map of R^d onto the simplex, in the logarithms of its coordinates."""

    def log_forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(log s, log-det) of z (..., d)."""
        ...

    def log_inverse(self, log_s: Tensor) -> tuple[Tensor, Tensor]:
        """(z, log-det) of log s (..., d+1)."""
        ...


def simplex_linear(simplex: LogSimplexMap) -> Path:
    """The straight line (1-t) s(a) + t s(b) on the simplex, mapped back to R^d.

    Fadel et al. 2021, section 3, p = 1. Computed in logarithms, log s = logaddexp(log(1-t) +
    log s(a), log t + log s(b)), so that no coordinate underflows; in float64, returned in the
    dtype of the ends.

    Args:
        simplex: the map s, such as :class:`flowkernels.bijections.StickBreaking`.

    Example:
        >>> path = simplex_linear(AdditiveLogRatio(2))
        >>> z = path(torch.zeros(2), torch.tensor([2.0, 0.0]).log1p(), 0.5)  # [3, 1, 1] / 5
        >>> [round(v, 4) for v in AdditiveLogRatio(2)(z)[0].tolist()]
        [0.4667, 0.2667, 0.2667]
    """

    def path(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
        dtype = a.dtype
        a, b, t = aligned(a.double(), b.double(), t)
        log_a, log_b = simplex.log_forward(a)[0], simplex.log_forward(b)[0]
        line = torch.logaddexp(torch.log1p(-t) + log_a, t.log() + log_b)
        return simplex.log_inverse(line)[0].to(dtype)

    return path


@register_path("simplex_linear")
def _log_ratio_simplex_linear(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """For the additive log-ratio map, which is symmetric in the coordinates."""
    return simplex_linear(AdditiveLogRatio(a.shape[-1]))(a, b, t)
