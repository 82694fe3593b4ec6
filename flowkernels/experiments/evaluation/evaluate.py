"""Scores of a flow and of baselines on test images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from flowkernels.bijections import Logit
from flowkernels.experiments.data import TensorBatches
from flowkernels.experiments.evaluation.baselines import DiagonalGaussian
from flowkernels.experiments.evaluation.metrics import BitsPerDim
from flowkernels.experiments.evaluation.noise import fixed_noise
from flowkernels.flows import Flow

__all__ = ["compare", "round_trip_error", "score", "start_flow"]

_SEED = 7_151_820
_BATCH = 250


@torch.no_grad()
def score(
    bits_per_dim: Callable[[Tensor], Tensor],
    batches: Iterable[Tensor],
    *,
    seed: int = _SEED,
    device: torch.device | str = "cpu",
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """Mean bits per dimension over batches of images, with its standard error.

    Args:
        bits_per_dim: maps images (B, C, H, W) to scores (B,); a method of a flow or a baseline.
        batches: the images.
        seed: of the dequantisation noise; torch's random state is restored afterwards.
        device: to which the images are copied.
        on_batch: called with the number of images after every batch.

    Returns:
        ``bpd``, ``standard_error`` and ``count``.

    Raises:
        ValueError: there are no images.

    Example:
        >>> images = [torch.zeros(3, 1, 2, 2), torch.ones(1, 1, 2, 2)]
        >>> score(lambda x: 8 * x.flatten(1).mean(1), images)["bpd"]
        2.0
    """
    metric = BitsPerDim().to(device)
    with fixed_noise(seed, device):
        for batch in batches:
            metric.update(bits_per_dim(batch.to(device)))
            if on_batch is not None:
                on_batch(len(batch))
    if float(metric.count) == 0:
        raise ValueError("batches: expected at least one image to score, got none")
    return {name: float(value) for name, value in metric.compute().items()}


@torch.no_grad()
def start_flow(flow: Flow, images: Tensor) -> Flow:
    """Initialise the ActNorms of a new flow from a first training batch.

    Args:
        flow: untrained; it is changed and returned in evaluation mode.
        images: (B, C, H, W).
    """
    with fixed_noise(_SEED):
        flow.train()
        flow.log_prob(images)
    return flow.eval()


@torch.no_grad()
def round_trip_error(flow: Flow, images: Tensor) -> float:
    """Largest |inverse(forward(x)) - x| over images, x in [0, 1]: the flow's rounding error.

    Measured at the bins' centres before rounding to levels, which would hide errors below half a
    level (2e-3).

    Args:
        flow: with dequantisation, see :func:`flowkernels.flows.glow`.
        images: (B, C, H, W) levels.

    Raises:
        ValueError: the flow does not dequantise.
    """
    if flow.dequantize is None:
        raise ValueError("flow: expected one that dequantises 8-bit images, got one without")
    device = flow.device
    centres, _ = flow.dequantize.centre(images.to(device, flow.dtype))
    latent, _ = flow.bijection(centres)
    back, _ = flow.bijection.inverse(latent)
    return float((back - centres).abs().max())


def compare(
    flow: Flow,
    untrained: Flow,
    train: Tensor,
    test: Tensor,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """Test scores of a flow, of the same flow untrained, and of a diagonal Gaussian.

    Args:
        flow: trained; it is scored on its device.
        untrained: the same architecture, see :func:`start_flow`.
        train: its training images; the Gaussians are fitted to them.
        test: images (N, C, H, W).
        on_batch: called after every batch of every score, for a progress bar.

    Returns:
        By name (``flow``, ``untrained_flow``, ``diagonal_gaussian``,
        ``diagonal_gaussian_logit``), what :func:`score` returns.
    """
    alpha = next((m.alpha for m in flow.modules() if isinstance(m, Logit)), None)
    with fixed_noise(_SEED):
        pixel = DiagonalGaussian.fit(train)
        logit = DiagonalGaussian.fit(train, alpha=alpha) if alpha is not None else None
    device = flow.device
    models: dict[str, tuple[Callable[[Tensor], Tensor], torch.device]] = {
        "flow": (flow.eval().bits_per_dim, device),
        "untrained_flow": (untrained.to(device).eval().bits_per_dim, device),
        "diagonal_gaussian": (pixel.bits_per_dim, torch.device("cpu")),
    }
    if logit is not None:
        models["diagonal_gaussian_logit"] = (logit.bits_per_dim, torch.device("cpu"))
    return {
        name: score(model, TensorBatches(test, _BATCH), device=where, on_batch=on_batch)
        for name, (model, where) in models.items()
    }
