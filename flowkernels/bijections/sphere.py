"""The stereographic projection of a scaled latent as a bijection."""

from __future__ import annotations

import torch
from torch import Tensor

from flowkernels import arguments, ops
from flowkernels.synchronization import shown

from .base import Bijection


class ScaledStereographic(Bijection):
    """R^d -> S^d: stereographic projection of scale * z; log_det = d log scale + d log rho.

    psi(y) = [y rho, 1 - rho], rho = 2 / (1 + |y|^2), y = scale z, with the log
    volume element on the sphere (Fadel et al. 2021, section 3; see
    :func:`flowkernels.ops.stereographic`). The origin maps to the south pole
    -e_{d+1}; no point maps to the north pole. A latent with unit-variance
    coordinates has |z| ~ sqrt(d): a scale of 1 would map it close to the north
    pole, so use a scale ~ 1/sqrt(d).

    Args:
        dim: d.
        scale: positive; default 1/sqrt(d), which maps |z| = sqrt(d) to the equator.

    Shapes:
        z (..., d), s (..., d+1) of unit length, log_det (...).

    Example:
        >>> s, log_det = ScaledStereographic(3)(torch.zeros(2, 3))
        >>> s[0].tolist()
        [0.0, 0.0, 0.0, -1.0]
    """

    scale: Tensor

    def __init__(self, dim: int, scale: float | None = None) -> None:
        super().__init__()
        owner = "ScaledStereographic"
        self.dim = arguments.integer(owner, "dim", dim)
        if scale is not None:
            arguments.positive_number(owner, "scale", scale)
        # A persistent buffer: the density depends on it.
        self.register_buffer("scale", torch.tensor(dim**-0.5 if scale is None else scale))

    @property
    def log_det_scale(self) -> Tensor:
        """The constant part of the log-det, d log scale, at least float32."""
        return self.dim * self.scale.to(torch.promote_types(self.scale.dtype, torch.float32)).log()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        arguments.vectors("ScaledStereographic", "x", x, self.dim)
        s, log_det = ops.stereographic(x * self.scale)
        return s, log_det + self.log_det_scale

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        arguments.vectors("ScaledStereographic", "z", z, self.dim + 1)
        x, log_det = ops.stereographic_inverse(z)
        return x / self.scale, log_det - self.log_det_scale

    def extra_repr(self) -> str:
        return f"dim={self.dim}, scale={shown(self.scale)}"
