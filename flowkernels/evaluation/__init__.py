"""Scoring a flow: bits per dimension, the baselines beside it, and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowkernels.data.extras import lazy

if TYPE_CHECKING:
    from flowkernels.evaluation.baselines import DiagonalGaussian
    from flowkernels.evaluation.evaluate import compare, round_trip_error, score, start_flow
    from flowkernels.evaluation.metrics import BitsPerDim
    from flowkernels.evaluation.noise import fixed_noise
    from flowkernels.evaluation.pictures import save_curve, save_grid

__all__ = [
    "BitsPerDim",
    "DiagonalGaussian",
    "compare",
    "fixed_noise",
    "round_trip_error",
    "save_curve",
    "save_grid",
    "score",
    "start_flow",
]

__getattr__ = lazy(
    __name__,
    {
        "baselines": ("DiagonalGaussian",),
        "evaluate": ("compare", "round_trip_error", "score", "start_flow"),
        "metrics": ("BitsPerDim",),
        "noise": ("fixed_noise",),
        "pictures": ("save_curve", "save_grid"),
    },
    {"evaluate": ("torchmetrics",), "metrics": ("torchmetrics",)},
)
