"""The base classes of bases on the sphere S^d."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution

from flowkernels import arguments, ops
from flowkernels.bijections import ScaledStereographic
from flowkernels.synchronization import has_values, shown

from .base import Base


class ProjectedBase(Base):
    """z in R^d such that the stereographic projection of scale * z has a given density on S^d.

    log p(z) = log p_sphere(psi(scale z)) + d log rho + d log scale (Fadel et al. 2021,
    section 3). The path between two latents is the arc between their projections.

    A subclass defines the distribution on the sphere.

    Args:
        dim: d, the latent dimension; the sphere lies in R^{d+1}.
        scale: of the projection.
    """

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__(dim, default_path="slerp")
        self.projection = ScaledStereographic(dim, scale)

    def sphere(self) -> Distribution:
        """The distribution on the sphere S^d."""
        raise NotImplementedError(f"{type(self).__name__} does not define sphere")

    def _log_prob(self, z: Tensor) -> Tensor:
        s, log_det = self.projection(z)
        log_prob: Tensor = self.sphere().log_prob(s)
        return log_prob + log_det

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        return self.projection.inverse(self.sphere().rsample(torch.Size(sample_shape)))[0]

    def path(self, a: Tensor, b: Tensor, t: Tensor | float, name: str | None = None) -> Tensor:
        """The arc between the projections of a and b; `name` as in :meth:`Base.path`."""
        if name not in (None, "slerp"):
            return super().path(a, b, t, name)
        arc = ops.slerp(self.projection(a)[0], self.projection(b)[0], t)
        return self.projection.inverse(arc)[0]


class SphericalBase(ProjectedBase):
    """A :class:`ProjectedBase` around a mean direction.

    A subclass defines the distribution around `loc` with concentration k = c d, and its mean
    cosine A for large d. With loc the image of z = 0, the mass concentrates where cos = A: on a
    sphere of radius r = sqrt((1 - A) / (1 + A)) about the origin, for every d. A latent with
    unit-variance coordinates has |z| ~ sqrt(d). The fixed scale r / sqrt(d) matches the two;
    without it a new flow's log-likelihood starts thousands of nats too low.

    Args:
        dim: d, the latent dimension; the sphere lies in R^{d+1}.
        concentration_scale: c; the concentration is k = c d.
        loc: mean direction mu (d+1,) of unit length; default -e_{d+1}, the image of z = 0.
        scale: of the projection; default r / sqrt(d).

    Raises:
        ValueError: c is not positive and finite, or `loc` is not a unit vector of R^{d+1}.
    """

    loc: Tensor
    concentration: Tensor

    def __init__(
        self,
        dim: int,
        concentration_scale: float = 1.0,
        *,
        loc: Tensor | None = None,
        scale: float | None = None,
    ) -> None:
        owner = type(self).__name__
        arguments.integer(owner, "dim", dim)
        c = arguments.positive_number(owner, "concentration_scale", concentration_scale)
        if loc is None:
            loc = torch.zeros(dim + 1)
            loc[-1] = -1
        else:
            arguments.floating_tensor(owner, "loc", loc)
        if loc.shape != (dim + 1,) or (has_values(loc) and abs(loc.norm().item() - 1) > 1e-4):
            raise ValueError(
                f"{owner}: loc must be a unit vector of shape ({dim + 1},), got shape "
                f"{tuple(loc.shape)} and length {shown(loc.norm())}"
            )
        super().__init__(dim, self.typical_radius(c) * dim**-0.5 if scale is None else scale)
        self.register_buffer("loc", loc.detach().clone())
        self.register_buffer("concentration", torch.tensor(c * dim, dtype=self.loc.dtype))

    @staticmethod
    def typical_radius(c: float) -> float:
        """|z| where the mass of concentration c d around -e_{d+1} lies, for large d.

        |z| = tan(angle / 2) = sqrt((1 - A) / (1 + A)) with A the mean cosine.
        """
        raise NotImplementedError

    @property
    def concentration_scale(self) -> float:
        """The c of the concentration c d."""
        return self.concentration.item() / self.dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}, concentration_scale={shown(self.concentration / self.dim)}"
