"""Flows, couplings, splines and the stereographic projection for torch.distributions.

The transforms serve ``TransformedDistribution`` of torch and of pyro, and zuko's
``NormalizingFlow``. :func:`as_transform` and :func:`as_distribution` turn bijections and flows into
transforms and distributions.
"""

from .bijection import BijectionTransform, as_transform
from .couplings import AffineCouplingTransform, SplineCouplingTransform
from .distribution import FlowDistribution, as_distribution
from .fused import FusedTransform
from .spline import SplineTransform
from .stereographic import StereographicTransform

__all__ = [
    "AffineCouplingTransform",
    "BijectionTransform",
    "FlowDistribution",
    "FusedTransform",
    "SplineCouplingTransform",
    "SplineTransform",
    "StereographicTransform",
    "as_distribution",
    "as_transform",
]
