"""The fused ops: ordinary torch ops, compiled, with derivatives of every order."""

from __future__ import annotations

from .affine_coupling import (
    affine_coupling,
    affine_coupling_split,
    affine_coupling_split_backward,
)
from .affine_coupling_mlp import affine_coupling_mlp
from .identity_split import identity_split
from .log_det import log_det_diagonal, log_det_triangular
from .log_iv import iv_ratio, log_iv
from .mlp import mlp
from .slerp import slerp
from .stereographic import stereographic, stereographic_inverse
from .tangent_normal import tangent_normal
from .vmf import (
    stereographic_vmf_log_prob,
    vmf_concentration,
    vmf_divergence,
    vmf_log_normalizer,
    vmf_log_peak,
    vmf_log_prob,
    vmf_mean_resultant,
)
from .vmf_sample import vmf_sample

__all__ = [
    "affine_coupling",
    "affine_coupling_mlp",
    "affine_coupling_split",
    "affine_coupling_split_backward",
    "identity_split",
    "iv_ratio",
    "log_det_diagonal",
    "log_det_triangular",
    "log_iv",
    "mlp",
    "slerp",
    "stereographic",
    "stereographic_inverse",
    "stereographic_vmf_log_prob",
    "tangent_normal",
    "vmf_concentration",
    "vmf_divergence",
    "vmf_log_normalizer",
    "vmf_log_peak",
    "vmf_log_prob",
    "vmf_mean_resultant",
    "vmf_sample",
]
