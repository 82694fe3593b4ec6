"""Baselines for flows: densities without training, scored on the same images.

Every score of this package is that of a density on dequantised images: level k of a pixel becomes
k + u with u uniform on [0, 1), and bits per dimension are -log2 p(x + u) / D, averaged over the
images with one draw of u each (Theis et al. 2016, "A note on the evaluation of generative models",
section 3.1). The baselines are scored in the same way.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DiagonalGaussian"]

_LEVELS = 256


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent Gaussians, one per pixel, fitted by maximum likelihood.

    In pixel space they are densities of the dequantised level k + u, with the mean of the levels
    plus 1/2 and their variance plus 1/12. In logit space they are densities of
    z = logit(alpha + (1 - 2 alpha) (k + u) / 256), the flow's input: the flow without its layers.

    Attributes:
        loc: (C, H, W) float64.
        scale: (C, H, W) float64.
        alpha: of the logit; None in pixel space.

    Example:
        >>> images = torch.randint(256, (2000, 1, 4, 4), dtype=torch.uint8)
        >>> gaussian = DiagonalGaussian.fit(images)
        >>> 8.0 < float(gaussian.bits_per_dim(images).mean()) < 8.4
        True
    """

    loc: Tensor
    scale: Tensor
    alpha: float | None = None

    @classmethod
    def fit(cls, images: Tensor, *, alpha: float | None = None) -> DiagonalGaussian:
        """The maximum-likelihood fit.

        Args:
            images: (N, C, H, W) uint8 levels.
            alpha: of the logit, whose fit uses one draw of noise per image; None for pixel space.

        Raises:
            ValueError: there are no images.
        """
        if len(images) == 0:
            raise ValueError("images: expected at least one to fit a Gaussian to, got none")
        if alpha is None:
            levels = images.double()
            variance = levels.var(0, correction=0) + 1 / 12
            return cls(levels.mean(0) + 0.5, variance.sqrt())
        total = torch.zeros(images.shape[1:], dtype=torch.float64)
        squares = torch.zeros_like(total)
        for first in range(0, len(images), 4096):
            batch = images[first : first + 4096]
            latent, _ = _logit(_dequantize(batch), alpha)
            total += latent.sum(0)
            squares += latent.square().sum(0)
        loc = total / len(images)
        return cls(loc, (squares / len(images) - loc.square()).sqrt(), alpha)

    def bits_per_dim(self, images: Tensor) -> Tensor:
        """-log2 p / D of images (B, C, H, W) of levels, with one draw of noise; (B,) float64."""
        values = _dequantize(images)
        log_det = torch.zeros(len(images), dtype=torch.float64)
        if self.alpha is not None:
            values, log_det = _logit(values, self.alpha)
        standard = (values - self.loc) / self.scale
        log_prob = -0.5 * standard.square() - self.scale.log() - 0.5 * math.log(2 * math.pi)
        nats = log_prob.flatten(1).sum(1) + log_det
        return -nats / (math.log(2) * self.loc.numel())


def _dequantize(images: Tensor) -> Tensor:
    levels = images.double()
    return levels + torch.rand_like(levels)


def _logit(values: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """logit(alpha + (1 - 2 alpha) v / 256) and the sum of log |its derivative in v|."""
    latent = torch.logit(alpha + (1 - 2 * alpha) * values / _LEVELS)
    log_slope = F.softplus(latent) + F.softplus(-latent) + math.log((1 - 2 * alpha) / _LEVELS)
    return latent, log_slope.flatten(1).sum(1)
