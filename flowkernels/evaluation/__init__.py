"""Scoring a flow: bits per dimension, the baselines beside it, and pictures."""

from flowkernels.data.extras import require

require("torchmetrics", extra="train", purpose="evaluating a flow")

from flowkernels.evaluation.baselines import DiagonalGaussian
from flowkernels.evaluation.evaluate import compare, round_trip_error, score, start_flow
from flowkernels.evaluation.metrics import BitsPerDim
from flowkernels.evaluation.pictures import save_curve, save_grid

__all__ = [
    "BitsPerDim",
    "DiagonalGaussian",
    "compare",
    "round_trip_error",
    "save_curve",
    "save_grid",
    "score",
    "start_flow",
]
