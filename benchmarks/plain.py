"""The ops as a good torch user would write them.

The references do extra work for accuracy at extreme arguments. These are the short formulas of
flow libraries and VAE code, as fast as plain torch allows. Each takes the arguments of the op of
the same name. The Bessel functions support large orders only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear, pad, softmax, softplus


def affine_coupling(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """RealNVP's coupling with a scale bounded by tanh."""
    shift, raw = params.chunk(2, dim=1)
    log_s = 2.0 * torch.tanh(raw * 0.5)
    return x * torch.exp(log_s) + shift, log_s.flatten(1).sum(1)


def affine_coupling_split(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Split the channels, couple the second part and concatenate."""
    identity, coupled = x.chunk(2, dim=1)
    coupled, log_det = affine_coupling(coupled, params)
    return torch.cat([identity, coupled], dim=1), log_det


def affine_coupling_split_backward(
    grad_y: Tensor, grad_log_det: Tensor, x: Tensor, params: Tensor
) -> tuple[Tensor, ...]:
    """By autograd, which computes the coupling again."""
    given = (grad_y, grad_log_det, x, params)
    graph = any(t.requires_grad for t in given)
    x, params = (t if t.requires_grad else t.detach().requires_grad_() for t in (x, params))
    with torch.enable_grad():
        out = affine_coupling_split(x, params)
    return torch.autograd.grad(out, (x, params), (grad_y, grad_log_det), create_graph=graph)


def identity_split(x: Tensor, coupled: int) -> tuple[Tensor, Tensor]:
    """A view of the first channels, and the input."""
    return x[:, : x.shape[1] - coupled], x


def rational_quadratic_spline(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """8 bins on [-3, 3] with straight tails: cumulative sums, one search, a gather a quantity."""
    bins, bound, least = 8, 3.0, 1e-3
    raw = params.unflatten(1, (x.shape[1], 3 * bins - 1)).movedim(2, -1)
    widths, heights, slopes = raw.split([bins, bins, bins - 1], dim=-1)
    widths = 2 * bound * (least + (1 - least * bins) * softmax(widths, dim=-1))
    heights = 2 * bound * (least + (1 - least * bins) * softmax(heights, dim=-1))
    slopes = pad(least + softplus(slopes), (1, 1), value=1.0)
    right, top = widths.cumsum(-1) - bound, heights.cumsum(-1) - bound
    inside = (x >= -bound) & (x <= bound)
    point = torch.where(inside, x, 0.0).unsqueeze(-1)
    k = (point >= right[..., :-1]).sum(-1, keepdim=True)
    width, height = widths.gather(-1, k), heights.gather(-1, k)
    left, bottom = right.gather(-1, k) - width, top.gather(-1, k) - height
    d0, d1, s = slopes.gather(-1, k), slopes.gather(-1, k + 1), height / width
    u = (point - left) / width
    v = 1 - u
    denominator = s + (d0 + d1 - 2 * s) * u * v
    y = bottom + height * (s * u * u + d0 * u * v) / denominator
    slope = s * s * (d1 * u * u + 2 * s * u * v + d0 * v * v) / denominator.square()
    log_det = torch.where(inside, slope.log().squeeze(-1), 0.0)
    return torch.where(inside, y.squeeze(-1), x), log_det.flatten(1).sum(1)


def rational_quadratic_spline_split(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
    """Split the channels, transform the second part and concatenate."""
    count = params.shape[1] // 23
    identity, moved = x.split([x.shape[1] - count, count], dim=1)
    moved, log_det = rational_quadratic_spline(moved, params)
    return torch.cat([identity, moved], dim=1), log_det


def log_det_diagonal(diag: Tensor, event_ndim: int = 1) -> Tensor:
    """Sum of log|d|."""
    return diag.abs().log().flatten(diag.ndim - event_ndim).sum(-1)


def log_det_triangular(matrix: Tensor) -> Tensor:
    """Sum of log|d| over the diagonal."""
    return matrix.diagonal(dim1=-2, dim2=-1).abs().log().sum(-1)


def mlp(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """Linear layers with ReLUs between them."""
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        x = torch.relu(linear(x, weight, bias))
    return linear(x, weights[-1], biases[-1])


def affine_coupling_mlp(
    x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """A coupling whose conditioner is a ReLU network."""
    return affine_coupling_split(x, mlp(x.chunk(2, dim=1)[0], weights, biases))


def stereographic(z: Tensor) -> tuple[Tensor, Tensor]:
    """[z rho, 1 - rho] and d log rho, rho = 2 / (1 + |z|^2)."""
    rho = 2 / (1 + z.square().sum(-1, keepdim=True))
    return torch.cat([z * rho, 1 - rho], dim=-1), z.shape[-1] * rho.squeeze(-1).log()


def stereographic_inverse(s: Tensor) -> tuple[Tensor, Tensor]:
    """s[:d] / (1 - s[d]) and -d log(1 - s[d])."""
    rho = 1 - s[..., -1:]
    z = s[..., :-1] / rho
    return z, -z.shape[-1] * rho.squeeze(-1).log()


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """The sine-weighted mean, the angle by a clamped acos."""
    cosine = (a * b).sum(-1, keepdim=True)
    if isinstance(t, Tensor) and t.ndim:
        a, b, cosine, t = a.unsqueeze(-2), b.unsqueeze(-2), cosine.unsqueeze(-2), t.unsqueeze(-1)
    omega = torch.acos(cosine.clamp(-1 + 1e-6, 1 - 1e-6))
    return (torch.sin((1 - t) * omega) * a + torch.sin(t * omega) * b) / torch.sin(omega)


def log_iv(v: float, x: Tensor) -> Tensor:
    """By three terms of Debye's expansion (DLMF 10.41.3), for large v."""
    h = torch.sqrt(v * v + x * x)
    t, t2 = v / h, (v / h) ** 2
    u1 = t * (3 - 5 * t2) / 24
    u2 = t2 * (81 - 462 * t2 + 385 * t2 * t2) / 1152
    u3 = t * t2 * (30375 - 369603 * t2 + 765765 * t2 * t2 - 425425 * t2 * t2 * t2) / 414720
    series = torch.log1p(u1 / v + u2 / v**2 + u3 / v**3)
    return h + v * torch.log(x / (v + h)) - 0.5 * torch.log(2 * math.pi * h) + series


def iv_ratio(v: float, x: Tensor) -> Tensor:
    """I_v / I_{v-1}, from two logarithms."""
    return torch.exp(log_iv(v, x) - log_iv(v - 1, x))


def vmf_log_normalizer(kappa: Tensor, dim: int) -> Tensor:
    """As v log k - (p/2) log 2 pi - log I_v(k)."""
    v = dim / 2 - 1
    return v * kappa.log() - dim / 2 * math.log(2 * math.pi) - log_iv(v, kappa)


def vmf_log_peak(kappa: Tensor, dim: int) -> Tensor:
    """As log C + k."""
    return vmf_log_normalizer(kappa, dim) + kappa


def vmf_divergence(kappa: Tensor, dim: int) -> Tensor:
    """As k A + log C(k) - log C(0)."""
    uniform = math.lgamma(dim / 2) - math.log(2) - dim / 2 * math.log(math.pi)
    return kappa * vmf_mean_resultant(kappa, dim) + vmf_log_normalizer(kappa, dim) - uniform


def vmf_mean_resultant(kappa: Tensor, dim: int) -> Tensor:
    """I_{p/2} / I_{p/2-1}."""
    return iv_ratio(dim / 2, kappa)


def vmf_concentration(r: Tensor, dim: int) -> Tensor:
    """Two steps of Newton's method from Banerjee's approximation (Sra 2012, eq. 3 and 4)."""
    kappa = r * (dim - r * r) / (1 - r * r)
    for _ in range(2):
        ratio = vmf_mean_resultant(kappa, dim)
        kappa = kappa - (ratio - r) / (1 - ratio * ratio - (dim - 1) / kappa * ratio)
    return kappa


def tangent_normal(loc: Tensor, cosine: Tensor, sine: Tensor, seed: Tensor) -> Tensor:
    """From a Gaussian minus its component along loc; ignores the seed."""
    v = torch.randn(*cosine.shape, loc.shape[-1], dtype=loc.dtype, device=loc.device)
    v = v - (v @ loc).unsqueeze(-1) * loc
    v = v / v.norm(dim=-1, keepdim=True)
    return cosine.unsqueeze(-1) * loc + sine.unsqueeze(-1) * v


def vmf_sample(loc: Tensor, concentration: Tensor, sample_shape: tuple[int, ...]) -> Tensor:
    """Wood's rejection until every draw is accepted; the loop synchronises with the device."""
    n = loc.shape[-1] - 1
    b = n / (2 * concentration + torch.sqrt(4 * concentration**2 + n * n))
    x0 = (1 - b) / (1 + b)
    c = concentration * x0 + n * torch.log(1 - x0 * x0)
    beta = torch.distributions.Beta(torch.full_like(b, n / 2), torch.full_like(b, n / 2))
    cosine = torch.zeros(sample_shape, dtype=loc.dtype, device=loc.device)
    pending = torch.ones(sample_shape, dtype=torch.bool, device=loc.device)
    while pending.any():
        e = beta.sample(sample_shape)
        w = (1 - (1 + b) * e) / (1 - (1 - b) * e)
        taken = concentration * w + n * torch.log(1 - x0 * w) - c > torch.rand_like(w).log()
        cosine = torch.where(pending & taken, w, cosine)
        pending = pending & ~taken
    sine = (1 - cosine.square()).clamp_min(0).sqrt()
    return tangent_normal(loc, cosine, sine, loc)


def vmf_log_prob(x: Tensor, loc: Tensor, concentration: Tensor) -> Tensor:
    """As log C + k loc.x."""
    return vmf_log_normalizer(concentration, x.shape[-1]) + concentration * (x @ loc)


def vmf_mixture_log_prob(
    x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor
) -> tuple[Tensor, Tensor]:
    """One matrix of logits, its logsumexp and what is left of it."""
    log_c = vmf_log_normalizer(concentrations, x.shape[-1])
    z = log_weights + log_c + concentrations * (x @ locs.mT)
    log_prob = z.logsumexp(-1)
    return log_prob, z - log_prob.unsqueeze(-1)


def vmf_mixture_statistics(
    x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor, sample_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """From the responsibilities, sums in float64 over what is added up in the dtype of x."""
    log_prob, log_r = vmf_mixture_log_prob(x, locs, concentrations, log_weights)
    shares = sample_weights.unsqueeze(-1) * log_r.exp()
    return log_prob, shares.sum(0).double(), (shares.mT @ x).double()


def stereographic_vmf_log_prob(z: Tensor, loc: Tensor, concentration: Tensor) -> Tensor:
    """The projection, then the sum of log density and log-det."""
    s, log_det = stereographic(z)
    return vmf_log_prob(s, loc, concentration) + log_det
