"""The fused ops: ordinary torch ops, compiled, with derivatives of every order."""

from __future__ import annotations

from . import _backends
from ._declaration import PUBLIC

# The public ops, for the type checker; written by `python -m tests.declared`.
from .affine_coupling import affine_coupling as affine_coupling
from .affine_coupling import affine_coupling_split as affine_coupling_split
from .affine_coupling import affine_coupling_split_backward as affine_coupling_split_backward
from .affine_coupling_mlp import affine_coupling_mlp as affine_coupling_mlp
from .autoregressive import affine_autoregressive_inverse as affine_autoregressive_inverse
from .autoregressive import spline_autoregressive_inverse as spline_autoregressive_inverse
from .bessel import iv_ratio as iv_ratio
from .bessel import log_iv as log_iv
from .identity_split import identity_split as identity_split
from .log_det import log_det_diagonal as log_det_diagonal
from .log_det import log_det_triangular as log_det_triangular
from .mlp import mlp as mlp
from .rational_quadratic_spline import rational_quadratic_spline as rational_quadratic_spline
from .rational_quadratic_spline import (
    rational_quadratic_spline_split as rational_quadratic_spline_split,
)
from .slerp import slerp as slerp
from .stereographic import stereographic as stereographic
from .stereographic import stereographic_inverse as stereographic_inverse
from .tangent_normal import tangent_normal as tangent_normal
from .vmf import stereographic_vmf_log_prob as stereographic_vmf_log_prob
from .vmf import vmf_concentration as vmf_concentration
from .vmf import vmf_divergence as vmf_divergence
from .vmf import vmf_log_normalizer as vmf_log_normalizer
from .vmf import vmf_log_peak as vmf_log_peak
from .vmf import vmf_log_prob as vmf_log_prob
from .vmf import vmf_mean_resultant as vmf_mean_resultant
from .vmf_mixture import vmf_mixture_log_prob as vmf_mixture_log_prob
from .vmf_mixture import vmf_mixture_statistics as vmf_mixture_statistics
from .vmf_sample import vmf_sample as vmf_sample

# The end of what is written.
__all__ = sorted(PUBLIC)
_backends.install()
