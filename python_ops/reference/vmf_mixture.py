"""Mixtures of von Mises-Fisher distributions, by definition."""

from __future__ import annotations

import torch
from torch import Tensor

from .vmf import vmf_log_normalizer


def _log_joint(x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor) -> Tensor:
    kappa = concentrations.double()
    log_c = vmf_log_normalizer(kappa, x.shape[-1])
    return log_weights.double() + log_c + kappa * (x.double() @ locs.double().mT)


def vmf_mixture_log_prob(
    x: Tensor,
    locs: Tensor,
    concentrations: Tensor,
    log_weights: Tensor,
    responsibilities: bool = True,
) -> tuple[Tensor, Tensor]:
    """log sum_k w_k C_p(kappa_k) exp(kappa_k x.loc_k), and each term's share of the sum."""
    joint = _log_joint(x, locs, concentrations, log_weights)
    log_prob = joint.logsumexp(-1)
    shares = joint - log_prob.unsqueeze(-1)
    return log_prob, shares if responsibilities else shares[..., :0]


def vmf_mixture_statistics(
    x: Tensor,
    locs: Tensor,
    concentrations: Tensor,
    log_weights: Tensor,
    sample_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x), and the weighted sums of the responsibilities and of their products with x."""
    joint = _log_joint(x, locs, concentrations, log_weights)
    log_prob = joint.logsumexp(-1)
    s = torch.ones_like(log_prob) if sample_weights is None else sample_weights.double()
    shares = s.unsqueeze(-1) * torch.exp(joint - log_prob.unsqueeze(-1))
    shares = shares.reshape(-1, locs.shape[0])
    return log_prob, shares.sum(0), shares.mT @ x.double().reshape(-1, x.shape[-1])
