"""Maximum likelihood for the spherical Cauchy distribution."""

from __future__ import annotations

import torch
from torch import Tensor

from .resultant import mean_direction

__all__ = ["fit_spherical_cauchy"]

_ROUNDS = 2000  # some fifty suffice on the circle, fewer in more dimensions
_REACHED, _ROUNDING = 1e-14, 2e-15  # the mean's length is known to about _ROUNDING / (1 - rho^2)


def fit_spherical_cauchy(samples: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Direction (*batch, p) and rho (*batch) in the dtype of the samples. Computed in float64.

    With the point psi = rho loc of the open ball, minus the log likelihood is n = p - 1 times

        F(psi) = sum_i w_i log(|x_i - psi|^2 / (1 - |psi|^2)),

    which is convex along the hyperbolic geodesics of the ball. At the minimum the transformed
    samples have the mean 0.
    """
    x, w = samples.double(), weights.double().squeeze(-1)
    mean_direction("SphericalCauchy", x, weights.double())  # raises if all are one point
    psi = torch.zeros_like(x[0])
    for _ in range(_ROUNDS):
        inner = (1 - _square(psi)).unsqueeze(-1)
        if (inner < 1e-13).any():
            break
        offset = x - psi
        pull = w / _square(offset)
        mean = inner * torch.einsum("n...,n...p->...p", pull, offset) - psi
        length = torch.linalg.vector_norm(mean, dim=-1, keepdim=True)
        if (length < _REACHED + _ROUNDING / inner).all():
            break
        psi = _moved(psi, mean * (_em_step(length) / length.clamp_min(1e-300)))
    _refuse_atoms(psi, x, w)
    rho = torch.linalg.vector_norm(psi, dim=-1)
    axis = torch.zeros_like(psi)
    axis[..., 0] = 1
    far = (rho > 0).unsqueeze(-1)
    loc = torch.where(far, psi / torch.where(far, rho.unsqueeze(-1), 1.0), axis)
    most = 1 - torch.finfo(samples.dtype).eps / 2
    return loc.to(samples.dtype), rho.to(samples.dtype).clamp_max(most)


def _square(x: Tensor) -> Tensor:
    return x.square().sum(-1)


def _em_step(length: Tensor) -> Tensor:
    """The r in [0, 0.45) with r (1 - r^2) + r = m (1 - r^2), m the length of the mean.

    It minimises 1 + r^2 - 2 r m - log(1 - r^2), which bounds F from above and touches it at the
    centre of the ball: log|x - psi|^2 <= |x - psi|^2 - 1 for unit vectors x.
    """
    r = length / 2
    for _ in range(6):  # Newton's method
        value = r * (2 - r * r) - length * (1 - r * r)
        r = r - value / (2 - 3 * r * r + 2 * length * r)
    return r


def _moved(psi: Tensor, step: Tensor) -> Tensor:
    """The image of `step` under the Moebius transformation that takes the centre to `psi`."""
    inner = (psi * step).sum(-1, keepdim=True)
    ours, theirs = (_square(v).unsqueeze(-1) for v in (psi, step))
    moved = (1 + 2 * inner + theirs) * psi + (1 - ours) * step
    return moved / (1 + 2 * inner + ours * theirs)


def _refuse_atoms(psi: Tensor, x: Tensor, w: Tensor) -> None:
    """Raises where half of the weight or more is at one point, to which psi then runs."""
    nearest = _square(x - psi).argmin(0)
    index = nearest.unsqueeze(-1).expand(psi.shape).unsqueeze(0)
    same = (x == x.gather(0, index)).all(-1)
    if ((w * same).sum(0) >= 0.5 - 1e-12).any():
        raise ValueError(
            "SphericalCauchy.fit: samples must have less than half of their weight at any one "
            "point: otherwise the likelihood has no single maximum"
        )
