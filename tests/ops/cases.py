"""The cases of the shared checker, one list per op."""

from __future__ import annotations

from .affine_coupling import AFFINE_COUPLING, AFFINE_COUPLING_SPLIT
from .affine_coupling_mlp import AFFINE_COUPLING_MLP
from .bessel import BESSEL_CASES
from .identity_split import IDENTITY_SPLIT
from .log_det import LOG_DET_DIAGONAL, LOG_DET_TRIANGULAR
from .mlp import MLP
from .slerp import SLERP
from .stereographic import STEREOGRAPHIC, STEREOGRAPHIC_INVERSE
from .tangent_normal import TANGENT_NORMAL
from .vmf import VMF_CASES

CASES = [
    AFFINE_COUPLING,
    AFFINE_COUPLING_MLP,
    AFFINE_COUPLING_SPLIT,
    IDENTITY_SPLIT,
    LOG_DET_DIAGONAL,
    LOG_DET_TRIANGULAR,
    MLP,
    SLERP,
    STEREOGRAPHIC,
    STEREOGRAPHIC_INVERSE,
    TANGENT_NORMAL,
    *BESSEL_CASES,
    *VMF_CASES,
]
