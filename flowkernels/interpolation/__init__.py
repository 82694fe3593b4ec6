"""Paths between latent points, by name or made for a distribution.

:mod:`.paths` has those that need nothing but the two points; :mod:`.cauchy` those that keep
a distribution's law, made from its marginal (:mod:`.marginals`); :mod:`.simplex` the straight
line of a space that is mapped onto the simplex. :mod:`.fidelity` offers them to torch-fidelity.
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
