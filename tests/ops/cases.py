"""The cases of the shared checker, one list per op."""

from __future__ import annotations

from .affine_coupling import AFFINE_COUPLING, AFFINE_COUPLING_SPLIT
from .log_det import LOG_DET_DIAGONAL, LOG_DET_TRIANGULAR

CASES = [
    AFFINE_COUPLING,
    AFFINE_COUPLING_SPLIT,
    LOG_DET_DIAGONAL,
    LOG_DET_TRIANGULAR,
]
