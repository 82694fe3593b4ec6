"""Random problems on the sphere, and EM as a plain program in float64."""

from __future__ import annotations

import mpmath
import numpy as np
import torch
from numpy.typing import NDArray

from flowkernels import ops

Array = NDArray[np.float64]


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def mixture_data(
    n: int, p: int, k: int, kappa: float, seed: int
) -> tuple[Array, NDArray[np.int64], Array]:
    """Points of k von Mises-Fisher components of one concentration, their labels and means."""
    rng = np.random.default_rng(seed)
    locs, labels = unit(rng.normal(size=(k, p))), rng.integers(0, k, n)
    generator = torch.Generator().manual_seed(seed)
    concentration = torch.full((n,), kappa, dtype=torch.float64)
    x = ops.vmf_sample(torch.from_numpy(locs[labels]), concentration, generator=generator)
    return x.numpy(), labels, locs


def log_normalizer(kappa: float, p: int) -> float:
    """log C_p(kappa), by mpmath."""
    with mpmath.workdps(40):
        v = mpmath.mpf(p) / 2 - 1
        k = mpmath.mpf(kappa)
        if k == 0:
            return float(mpmath.loggamma(v + 1) - (v + 1) * mpmath.log(mpmath.pi) - mpmath.log(2))
        return float(
            v * mpmath.log(k)
            - (v + 1) * mpmath.log(2 * mpmath.pi)
            - mpmath.log(mpmath.besseli(v, k, maxterms=10**6))
        )


def log_densities(x: Array, weights: Array, locs: Array, kappas: Array) -> Array:
    """log w_k + log C_p(kappa_k) + kappa_k loc_k.x_n, (N, K)."""
    peaks = [log_normalizer(float(kappa), x.shape[1]) for kappa in kappas]
    return np.log(weights) + np.array(peaks) + kappas * (x @ locs.T)


def plain_em(
    x: Array, weights: Array, locs: Array, kappas: Array, updates: int
) -> tuple[list[float], Array, Array, Array]:
    """Log-likelihoods of EM, one more than updates, and the last weights, locs and kappas."""
    history = []
    for step in range(updates + 1):
        z = log_densities(x, weights, locs, kappas)
        top = z.max(1, keepdims=True)
        log_prob = top[:, 0] + np.log(np.exp(z - top).sum(1))
        history.append(float(log_prob.mean()))
        if step == updates:
            break
        r = np.exp(z - log_prob[:, None])
        counts, sums = r.sum(0), r.T @ x
        lengths = np.linalg.norm(sums, axis=1)
        weights, locs = counts / counts.sum(), sums / lengths[:, None]
        kappas = np.array([concentration(r, x.shape[1]) for r in lengths / counts])
    return history, weights, locs, kappas


def concentration(r: float, p: int) -> float:
    """kappa with I_{p/2}(kappa) / I_{p/2-1}(kappa) = r, by mpmath's root finder."""
    with mpmath.workdps(40):

        def excess(k: mpmath.mpf) -> mpmath.mpf:
            v = mpmath.mpf(p) / 2
            return mpmath.besseli(v, k) / mpmath.besseli(v - 1, k) - mpmath.mpf(r)

        start = r * (p - r * r) / (1 - r * r)
        return float(mpmath.findroot(excess, (start, 1.01 * start)))
