"""The definition of every op in plain torch.

Nothing here imports anything else of ours: tests and benchmarks compare the
compiled ops with these functions, and the derivatives that no fused kernel
covers (second order, forward mode) are taken through them.
"""

from .affine_coupling import affine_coupling, affine_coupling_split, affine_coupling_split_backward
from .log_det import log_det_diagonal, log_det_diagonal_backward, log_det_triangular
from .slerp import slerp
from .stereographic import stereographic, stereographic_inverse

__all__ = [
    "affine_coupling",
    "affine_coupling_split",
    "affine_coupling_split_backward",
    "log_det_diagonal",
    "log_det_diagonal_backward",
    "log_det_triangular",
    "slerp",
    "stereographic",
    "stereographic_inverse",
]
