"""DEVELOPMENT SHIM: the plain-torch references until the compiled ops land."""

import torch

from .reference import *  # noqa: F403
from .affine_coupling import affine_coupling, affine_coupling_split
from .log_det import log_det_diagonal, log_det_triangular


def _debye(v, x):
    h = torch.sqrt(v * v + x * x)
    t = v / h
    u1 = (3 * t - 5 * t**3) / 24
    return h - v - v * torch.log((v + h) / (2 * v)) - 0.5 * torch.log(h / v) + torch.log1p(u1 / v) - torch.log1p(
        torch.tensor(-2 / 24 / v)
    )


def vmf_log_normalizer(kappa, dim, relative=False):
    kappa = torch.as_tensor(kappa, dtype=torch.float64 if not torch.is_tensor(kappa) else None)
    dt, kappa = kappa.dtype, kappa.double()
    v = dim / 2 - 1
    out = -_debye(v, kappa)
    if not relative:
        out = out + torch.lgamma(torch.tensor(dim / 2).double()) - 0.6931471805599453 - dim / 2 * 1.1447298858494002
    return out.to(dt)


def vmf_log_prob(x, loc, concentration):
    return vmf_log_normalizer(concentration, x.shape[-1]) + concentration * (x * loc).sum(-1)


def stereographic_vmf_log_prob(z, loc, concentration):
    s, log_det = stereographic(z)  # noqa: F405
    return vmf_log_prob(s, loc, concentration) + log_det
