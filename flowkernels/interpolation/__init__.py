"""Paths between latent points, by name or made for a distribution.

:mod:`.paths` has the paths that need only the two points; :mod:`.cauchy` the paths that preserve
a distribution, made from its marginal (:mod:`.marginals`); :mod:`.simplex` the straight line on
the simplex. :mod:`.fidelity` registers the paths with torch-fidelity.
"""

from .cauchy import cauchy_linear, spherical_cauchy_linear
from .cauchy_length import CauchyLength
from .marginals import Chi, FarTails, Marginal, StandardCauchy, StandardNormal
from .paths import (
    Path,
    get_path,
    linear,
    norm_corrected,
    normalized_linear,
    path_names,
    register_path,
    slerp,
)
from .simplex import simplex_linear

__all__ = [
    "CauchyLength",
    "Chi",
    "FarTails",
    "Marginal",
    "Path",
    "StandardCauchy",
    "StandardNormal",
    "cauchy_linear",
    "get_path",
    "linear",
    "norm_corrected",
    "normalized_linear",
    "path_names",
    "register_path",
    "simplex_linear",
    "slerp",
    "spherical_cauchy_linear",
]
