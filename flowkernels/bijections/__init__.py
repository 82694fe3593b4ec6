"""Invertible maps with their log-det-Jacobians; ``forward`` is data to latent."""

from .actnorm import ActNorm
from .autoregressive import AffineAutoregressive, SplineAutoregressive
from .base import Bijection, Compose, Inverse
from .conditioners import (
    ContextConv2d,
    ConvNetwork,
    ReluNetwork,
    conv_conditioner,
    mlp_conditioner,
)
from .conv1x1 import ActNormConv1x1, InvertibleConv1x1
from .coupling import AffineCoupling, Coupling
from .glow import GlowStep, GlowSteps
from .lu_linear import LULinear
from .masked_network import MaskedLinear, MaskedNetwork
from .preprocessing import Dequantize, Logit, Standardize
from .reshape import Flip, Multiscale, Permutation, Squeeze
from .simplex import AdditiveLogRatio, SimplexBijection, StickBreaking
from .sphere import ScaledStereographic
from .spline_coupling import SplineCoupling, start_as_identity
from .variational_dequantize import VariationalDequantize

__all__ = [
    "ActNorm",
    "ActNormConv1x1",
    "AdditiveLogRatio",
    "AffineAutoregressive",
    "AffineCoupling",
    "Bijection",
    "Compose",
    "ContextConv2d",
    "ConvNetwork",
    "Coupling",
    "Dequantize",
    "Flip",
    "GlowStep",
    "GlowSteps",
    "Inverse",
    "InvertibleConv1x1",
    "LULinear",
    "Logit",
    "MaskedLinear",
    "MaskedNetwork",
    "Multiscale",
    "Permutation",
    "ReluNetwork",
    "ScaledStereographic",
    "SimplexBijection",
    "SplineAutoregressive",
    "SplineCoupling",
    "Squeeze",
    "Standardize",
    "StickBreaking",
    "VariationalDequantize",
    "conv_conditioner",
    "mlp_conditioner",
    "start_as_identity",
]
