"""Mixtures of von Mises-Fisher distributions in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

from .._declaration import call


def _radial(concentrations: Tensor, dim: int, function: str) -> Tensor:
    out: Tensor = call("bessel", concentrations.double(), dim / 2 - 1, function)
    return out


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _logits(
    x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """log w + log C_p(kappa) + kappa x.loc of each component, less a number; it, and x.loc - 1.

    The number is the largest of all peaks: float32 has the digits for what is left.
    """
    wide = _wide(x)
    peak = log_weights.double() + _radial(concentrations, x.shape[-1], "vmf_log_peak")
    largest = peak.detach().amax(-1)  # ONNX wants the dimension
    common = torch.where(largest.isfinite(), largest, 0.0)
    above = x.to(wide) @ locs.to(wide).mT - 1
    return (peak - common).to(wide) + concentrations.to(wide) * above, common, above


def _log_prob(logits: Tensor, common: Tensor) -> tuple[Tensor, Tensor]:
    """log p, and the logarithm of the sum that the logits are divided by."""
    log_sum = logits.logsumexp(-1)
    return (log_sum.double() + common).to(log_sum.dtype), log_sum


def vmf_mixture_log_prob(
    x: Tensor,
    locs: Tensor,
    concentrations: Tensor,
    log_weights: Tensor,
    responsibilities: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""log p(x), and the logarithms of the responsibilities or (\*batch, 0)."""
    logits, common, _ = _logits(x, locs, concentrations, log_weights)
    log_prob, log_sum = _log_prob(logits, common)
    log_r = logits - log_sum.unsqueeze(-1)
    return log_prob, log_r if responsibilities else log_r[..., :0]


def _pull_back(
    dz: Tensor, above: Tensor, x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of the arguments from those of the logits (points, K)."""
    wide = _wide(x)
    kappa = concentrations.to(wide).unsqueeze(-1)
    counts = dz.sum(0)
    slope = _radial(concentrations, x.shape[-1], "vmf_mean_resultant_complement").to(wide)
    of_x = (dz @ (kappa * locs.to(wide))).reshape(x.shape)
    return (
        of_x.to(x.dtype),
        (kappa * (dz.mT @ x.to(wide).reshape(-1, x.shape[-1]))).to(locs.dtype),
        ((dz * above).sum(0) + slope * counts).to(concentrations.dtype),
        counts.to(log_weights.dtype),
    )


def vmf_mixture_log_prob_backward(
    grad_log_prob: Tensor,
    grad_log_responsibilities: Tensor,
    x: Tensor,
    locs: Tensor,
    concentrations: Tensor,
    log_weights: Tensor,
    responsibilities: bool,
) -> tuple[Tensor, ...]:
    """The gradients of `vmf_mixture_log_prob`."""
    given = locs, concentrations, log_weights
    logits, _, above = _logits(x.reshape(-1, x.shape[-1]), *given)
    r = logits.softmax(-1)
    grad = grad_log_prob.reshape(-1, 1)
    if responsibilities:
        of_log_r = grad_log_responsibilities.reshape(logits.shape)
        dz = r * (grad - of_log_r.sum(-1, keepdim=True)) + of_log_r
    else:
        dz = r * grad
    return _pull_back(dz, above, x, *given)


def vmf_mixture_statistics(
    x: Tensor,
    locs: Tensor,
    concentrations: Tensor,
    log_weights: Tensor,
    sample_weights: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """log p(x), and the sums of s r and of s r x over the points, in float64."""
    logits, common, _ = _logits(x, locs, concentrations, log_weights)
    log_prob, _ = _log_prob(logits, common)
    shares = logits.softmax(-1) * sample_weights.to(logits.dtype).unsqueeze(-1)
    shares = shares.reshape(-1, locs.shape[0]).double()
    return log_prob, shares.sum(0), shares.mT @ x.reshape(-1, x.shape[-1]).double()


def vmf_mixture_statistics_backward(
    grad_log_prob: Tensor,
    grad_counts: Tensor,
    grad_sums: Tensor,
    x: Tensor,
    locs: Tensor,
    concentrations: Tensor,
    log_weights: Tensor,
    sample_weights: Tensor,
) -> tuple[Tensor, ...]:
    """The gradients of `vmf_mixture_statistics`."""
    given = locs, concentrations, log_weights
    flat = x.reshape(-1, x.shape[-1])
    logits, _, above = _logits(flat, *given)
    wide = logits.dtype
    r = logits.softmax(-1)
    s = sample_weights.to(wide).reshape(-1, 1)
    of_sums = grad_sums.to(wide)
    of_share = grad_counts.to(wide) + flat.to(wide) @ of_sums.mT
    mean = (r * of_share).sum(-1, keepdim=True)
    dz = r * (grad_log_prob.reshape(-1, 1) + s * (of_share - mean))
    of_x, *rest = _pull_back(dz, above, x, *given)
    direct = (s * r @ of_sums).reshape(x.shape)
    of_weights = mean.reshape(sample_weights.shape).to(sample_weights.dtype)
    return of_x + direct.to(x.dtype), *rest, of_weights
