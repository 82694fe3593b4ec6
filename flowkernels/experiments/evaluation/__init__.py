"""Scores of a flow and of baselines in bits per dimension, image quality, and pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowkernels.experiments.data.extras import lazy

if TYPE_CHECKING:
    from flowkernels.experiments.evaluation.baselines import DiagonalGaussian
    from flowkernels.experiments.evaluation.bounds import importance_weighted
    from flowkernels.experiments.evaluation.calibration import Coverage, calibrate, coverage
    from flowkernels.experiments.evaluation.evaluate import (
        compare,
        round_trip_error,
        score,
        start_flow,
    )
    from flowkernels.experiments.evaluation.extractor import (
        Classifier,
        Extractor,
        inception,
        trained_extractor,
    )
    from flowkernels.experiments.evaluation.metrics import BitsPerDim, MeanScore
    from flowkernels.experiments.evaluation.noise import fixed_noise
    from flowkernels.experiments.evaluation.pictures import (
        save_calibration,
        save_curve,
        save_grid,
    )
    from flowkernels.experiments.evaluation.quality import ImageQualities, ImageQuality, Quality
    from flowkernels.experiments.evaluation.walks import (
        NearestImages,
        pairs_of,
        score_walks,
        walk_images,
    )

__all__ = [
    "BitsPerDim",
    "Classifier",
    "Coverage",
    "DiagonalGaussian",
    "Extractor",
    "ImageQualities",
    "ImageQuality",
    "MeanScore",
    "NearestImages",
    "Quality",
    "calibrate",
    "compare",
    "coverage",
    "fixed_noise",
    "importance_weighted",
    "inception",
    "pairs_of",
    "round_trip_error",
    "save_calibration",
    "save_curve",
    "save_grid",
    "score",
    "score_walks",
    "start_flow",
    "trained_extractor",
    "walk_images",
]

__getattr__ = lazy(
    __name__,
    {
        "baselines": ("DiagonalGaussian",),
        "bounds": ("importance_weighted",),
        "calibration": ("Coverage", "calibrate", "coverage"),
        "evaluate": ("compare", "round_trip_error", "score", "start_flow"),
        "extractor": ("Classifier", "Extractor", "inception", "trained_extractor"),
        "metrics": ("BitsPerDim", "MeanScore"),
        "noise": ("fixed_noise",),
        "pictures": ("save_calibration", "save_curve", "save_grid"),
        "quality": ("ImageQualities", "ImageQuality", "Quality"),
        "walks": ("NearestImages", "pairs_of", "score_walks", "walk_images"),
    },
    {"evaluate": ("torchmetrics",), "metrics": ("torchmetrics",), "quality": ("torchmetrics",)},
)
