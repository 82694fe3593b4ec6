"""The cosines of von Mises-Fisher samples and their paths, by definition, in NumPy.

w = loc.x has the density proportional to exp(kappa w) (1 - w^2)^((n-2)/2) with n = p - 1: Ulrich
(1984) and Wood (1994). Its derivatives in kappa at a fixed quantile are integrals over the tail
beyond w, made here by brute force.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .philox import COSINE, philox, uniform

Array = NDArray[np.float64]
ROUNDS = 32  # all of which fail with probability below 1e-14
PANELS = 24
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(24)


def vmf_sample_cosine(
    kappa: Tensor, seed: Tensor, dim: int, slopes: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """w, sqrt(1 - w^2), and the first and second derivative of w in kappa over 1 - w^2."""
    k = kappa.detach().double().reshape(-1).numpy()
    below, above = _draw(k, seed, dim - 1)
    w, s = (above - below) / 2, np.sqrt(above * below)
    slope, bend = _path(k, w, s, dim - 1) if slopes else (np.empty(0), np.empty(0))
    shape = kappa.shape if slopes else torch.Size([0])
    first, second = (torch.from_numpy(a).reshape(shape) for a in (slope, bend))
    cosine, sine = (torch.from_numpy(a).reshape(kappa.shape) for a in (w, s))
    return cosine, sine, first, second


def _draw(k: Array, seed: Tensor, n: int) -> tuple[Array, Array]:
    """1 - w and 1 + w of the first proposal of each row that is accepted."""
    row = torch.arange(len(k))
    below, above = np.full((2, len(k)), np.nan)
    # The envelope: w = (1 - (1 + b) z) / (1 - (1 - b) z) for z of a beta distribution.
    b = n / (2 * k + np.sqrt(4 * k * k + n * n))
    for trial in range(ROUNDS):
        words = [
            philox((zero + 2 * trial + i, row, zero, zero + COSINE), seed + zero)
            for zero in [torch.zeros_like(row)]
            for i in (0, 1)
        ]
        u, v = (uniform(*words[0][i : i + 2]).numpy() for i in (0, 2))
        # z = (1 + r cos(2 pi v)) / 2 with r^2 = 1 - u^(2 / (n - 1)), and 1 - z, without loss.
        gap = np.log(u) * 2 / (n - 1) if n > 1 else np.full(len(k), -np.inf)
        r = np.sqrt(-np.expm1(gap))
        lost, half = np.exp(gap) / (1 + r) / 2, np.pi * v
        z, rest = lost + r * np.cos(half) ** 2, lost + r * np.sin(half) ** 2
        scale = rest + b * z
        # The density over the envelope, at most 1.
        q = (1 + b) / 2 / scale
        ratio = n * (np.log(q) - q + 1)
        taken = np.isnan(below) & (
            (ratio > np.log(uniform(*words[1][:2]).numpy())) | (trial == ROUNDS - 1)
        )
        below[taken], above[taken] = (2 * b * z / scale)[taken], (2 * rest / scale)[taken]
    return below, above


def _integral(low: Array, high: Array) -> tuple[Array, Array]:
    """Nodes and weights of Gauss and Legendre in PANELS panels from low to high, a row each."""
    left = np.arange(PANELS)[:, None]
    at = (left + (_NODES + 1) / 2).reshape(-1) / PANELS
    weights = np.tile(_WEIGHTS / 2 / PANELS, PANELS)
    width = (high - low)[:, None]
    return low[:, None] + width * at, width * weights


def _end(log_density: object, start: Array, limit: Array) -> Array:
    """Where, from start towards limit, a concave log density has fallen by 50."""
    near, far = start.copy(), limit.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(60):
            middle = (near + far) / 2
            inside = log_density(middle) > -50  # type: ignore[operator]
            near, far = np.where(inside, middle, near), np.where(inside, far, middle)
    return far


def _moments(k: Array, n: int) -> tuple[Array, Array]:
    """1 - A and A', the mean of 1 - w and the variance of w, over the angle from the mode."""
    # The density of the angle t is exp(k cos t) sin(t)^(n-1); at its mode cos t = c.
    c = 2 * k / ((n - 1) + np.sqrt((n - 1) ** 2 + 4 * k * k)) if n > 1 else np.ones_like(k)
    mode = np.arccos(np.clip(c, -1, 1))
    if n > 1:  # sin(t)^2 = (n - 1) cos(t) / k, where the arc cosine loses digits
        root = np.sqrt((n - 1) * c / np.maximum(k, 1e-300))
        mode = np.where(c > 0.7, np.arcsin(np.clip(root, 0, 1)), mode)

    def log_density(t: Array) -> Array:
        shape = k.reshape(-1, *[1] * (t.ndim - 1)), mode.reshape(-1, *[1] * (t.ndim - 1))
        fall = -2 * shape[0] * np.sin((t + shape[1]) / 2) * np.sin((t - shape[1]) / 2)
        if n == 1:
            return fall
        return fall + (n - 1) * (np.log(np.sin(t)) - np.log(np.sin(shape[1])))

    low = _end(log_density, mode, np.zeros_like(k))
    high = _end(log_density, mode, np.full_like(k, np.pi))
    parts = [_integral(low, mode), _integral(mode, high)]
    t, weight = (np.concatenate(both, -1) for both in zip(*parts, strict=True))
    density = weight * np.exp(log_density(t))
    density /= density.sum(-1, keepdims=True)
    short = 2 * np.sin(t / 2) ** 2  # 1 - w
    mean = (density * short).sum(-1)
    return mean, (density * (short - mean[:, None]) ** 2).sum(-1)


def _path(k: Array, w: Array, s: Array, n: int) -> tuple[Array, Array]:
    """(dw/dk) / s^2 and (d^2w/dk^2) / s^2.

    With f the density, f w' is minus the derivative of the distribution function in k: the
    integral of (t - A) f(t) over t beyond w, on whichever side is shorter.
    """
    rest, rate = _moments(k, n)
    angle = np.arctan2(s, w)
    below = 2 * np.sin(angle / 2) ** 2
    to_mode = below < rest  # w > A: the tail lies towards angle 0

    def exponent(t: Array) -> Array:
        k_, a = (v.reshape(-1, *[1] * (t.ndim - 1)) for v in (k, angle))
        drop = -2 * np.sin((t + a) / 2) * np.sin((t - a) / 2)  # cos t - w
        return k_ * drop + ((n - 1) * np.log(np.sin(t) / np.sin(a)) if n > 1 else 0.0)

    end = _end(exponent, angle, np.where(to_mode, 0.0, np.pi))
    t, weight = _integral(angle, end)
    g = np.abs(weight) * np.exp(exponent(t)) / s[:, None]  # f(t) dt / f(w) / s^2, t the angle
    distance = rest[:, None] - 2 * np.sin(t / 2) ** 2  # cos t - A
    slope = (g * np.abs(distance)).sum(-1)
    spread = np.where(to_mode, 1, -1) * (g * (distance**2 - rate[:, None])).sum(-1)
    return slope, spread - 2 * slope * (rest - below) - slope**2 * (k * s * s - (n - 2) * w)
