"""The definition of every op in plain torch.

Nothing here imports anything else of ours: tests and benchmarks compare the
compiled ops with these functions, and the derivatives that no fused kernel
covers (second order, forward mode) are taken through them.
"""

from .affine_coupling import affine_coupling, affine_coupling_split, affine_coupling_split_backward
from .affine_coupling_mlp import affine_coupling_mlp
from .identity_split import identity_split
from .log_det import log_det_diagonal, log_det_diagonal_backward, log_det_triangular
from .log_iv import (
    iv_ratio,
    iv_ratio_complement,
    iv_ratio_derivative,
    log_0f1,
    log_iv,
    log_iv_derivative,
)
from .mlp import mlp
from .slerp import slerp, slerp_backward
from .stereographic import (
    stereographic,
    stereographic_backward,
    stereographic_inverse,
    stereographic_inverse_backward,
)
from .tangent_normal import tangent_normal, tangent_normal_backward
from .vmf import (
    stereographic_vmf_log_prob,
    vmf_concentration,
    vmf_divergence,
    vmf_log_normalizer,
    vmf_log_peak,
    vmf_log_prob,
    vmf_mean_resultant,
)
from .vmf_sample import along_path, vmf_sample, vmf_sample_cosine

__all__ = [
    "affine_coupling",
    "affine_coupling_mlp",
    "affine_coupling_split",
    "affine_coupling_split_backward",
    "along_path",
    "identity_split",
    "iv_ratio",
    "iv_ratio_complement",
    "iv_ratio_derivative",
    "log_0f1",
    "log_det_diagonal",
    "log_det_diagonal_backward",
    "log_det_triangular",
    "log_iv",
    "log_iv_derivative",
    "mlp",
    "slerp",
    "slerp_backward",
    "stereographic",
    "stereographic_backward",
    "stereographic_inverse",
    "stereographic_inverse_backward",
    "stereographic_vmf_log_prob",
    "tangent_normal",
    "tangent_normal_backward",
    "vmf_concentration",
    "vmf_divergence",
    "vmf_log_normalizer",
    "vmf_log_peak",
    "vmf_log_prob",
    "vmf_mean_resultant",
    "vmf_sample",
    "vmf_sample_cosine",
]
