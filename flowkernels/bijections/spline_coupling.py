"""Couplings by monotonic rational-quadratic splines.

Durkan, Bekasov, Murray & Papamakarios, "Neural Spline Flows" (2019, arXiv 1906.04032), section 3.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from flowkernels import arguments, ops
from flowkernels.ops.affine_coupling import Transform
from flowkernels.ops.rational_quadratic_spline import (
    CHOICES,
    LARGEST_BINS,
    Boundary,
    Convention,
    parameter_count,
)

from .coupling import Coupling

__all__ = ["SplineCoupling", "Splines", "start_as_identity"]


def check_spline(
    owner: str,
    *,
    bins: int,
    bound: float,
    boundary: Boundary,
    min_width: float,
    min_height: float,
    min_derivative: float,
    convention: Convention,
    scale: float,
) -> None:
    """Raises for an option that :func:`flowkernels.ops.rational_quadratic_spline` cannot take."""
    arguments.integer(owner, "bins", bins)
    if bins > LARGEST_BINS:
        raise ValueError(f"{owner}: bins must be at most {LARGEST_BINS}, got {bins}")
    arguments.positive_number(owner, "bound", bound)
    arguments.positive_number(owner, "scale", scale)
    arguments.choice(owner, "boundary", boundary, CHOICES["boundary"])
    arguments.choice(owner, "convention", convention, CHOICES["convention"])
    for name, value in (("min_width", min_width), ("min_height", min_height)):
        if not 0 <= arguments.number(owner, name, value) < 1 / bins:
            raise ValueError(
                f"{owner}: {name} must be from 0 to less than 1 / bins = {1 / bins:g}, got {value}"
            )
    if not 0 < arguments.number(owner, "min_derivative", min_derivative) < 1:
        raise ValueError(f"{owner}: min_derivative must be between 0 and 1, got {min_derivative}")


class Splines:
    """The options that bijections by splines share, and how many parameters a spline has."""

    bins: int
    bound: float
    boundary: Boundary
    min_width: float
    min_height: float
    min_derivative: float
    convention: Convention
    scale: float

    def _set_splines(self, **options: Any) -> None:
        """Sets all of them; raises for one that the op cannot take."""
        check_spline(type(self).__name__, **options)
        for name, value in options.items():
            setattr(self, name, value)

    @property
    def _splines(self) -> dict[str, Any]:
        """All of them, for the op."""
        return {name: getattr(self, name) for name in Splines.__annotations__}

    def _shown_splines(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self._splines.items())

    @property
    def parameters_per_channel(self) -> int:
        """M: 3 bins - 1, 3 bins or 3 bins + 1, by the boundary."""
        return parameter_count(self.bins, self.boundary)


class SplineCoupling(Splines, Coupling):
    r"""Maps part of the channels by splines; a network of the others gives their parameters.

    With x (B, C, \*S) = (a, b), a the identity channels and b the coupled channels: each element
    of b goes through a rational-quadratic spline of its own, a is kept; log_det = sum log of the
    slopes. One fused op, ``ops.rational_quadratic_spline_split``, reads the network's raw output
    and the whole input and writes the whole output. Outside [-bound, bound] the splines are the
    identity: standardise the data (:class:`ActNorm`, :class:`Standardize`).

    Args:
        conditioner: maps the C - k identity channels (B, C - k, \*S) to the parameters
            (B, M k, \*S) of the k coupled channels, those of a channel side by side; M is
            ``parameters_per_channel``. Contexts as in :class:`Coupling`.
        transform: which channels are coupled: ``"second"`` (the last C - C//2), ``"first"``
            (the first C//2), ``"even"`` (0::2) or ``"odd"`` (1::2).
        bins, bound, boundary, min_width, min_height, min_derivative, convention, scale: see
            :func:`flowkernels.ops.rational_quadratic_spline`.
        context_features: as in :class:`Coupling`.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    Example:
        >>> import torch
        >>> from flowkernels.bijections import mlp_conditioner
        >>> layer = SplineCoupling(mlp_conditioner(3, 3 * 23, hidden=(8,)), bins=8)
        >>> z, log_det = layer(torch.randn(5, 6))
        >>> z.shape, log_det.shape
        (torch.Size([5, 6]), torch.Size([5]))
    """

    def __init__(
        self,
        conditioner: nn.Module,
        *,
        transform: Transform = "second",
        bins: int = 8,
        bound: float = 3.0,
        boundary: Boundary = "linear",
        min_width: float = 1e-3,
        min_height: float = 1e-3,
        min_derivative: float = 1e-3,
        convention: Convention = "nflows",
        scale: float = 1.0,
        context_features: int | None = None,
    ) -> None:
        super().__init__(conditioner, transform=transform, context_features=context_features)
        self._set_splines(
            bins=bins, bound=bound, boundary=boundary, min_width=min_width,
            min_height=min_height, min_derivative=min_derivative, convention=convention,
            scale=scale,
        )  # fmt: skip

    def _map(self, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return ops.rational_quadratic_spline_split(
            x, params, transform=self.transform, inverse=inverse, **self._splines
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self._shown_splines()}"


def start_as_identity(bias: Tensor, spline: Splines) -> None:
    """Sets the bias of a conditioner's last layer, whose weight is 0, so that splines are lines.

    Equal raw widths and heights make bins of one size; all derivatives become 1.

    Example:
        >>> import torch
        >>> from flowkernels.bijections import mlp_conditioner
        >>> network = mlp_conditioner(3, 3 * 23, hidden=(8,))
        >>> layer = SplineCoupling(network)
        >>> start_as_identity(network[-1].bias, layer)
        >>> layer(torch.randn(5, 6))[1].abs().max().item() < 1e-5
        True
    """
    raw = 0.0
    if spline.convention != "zuko":
        raw = math.log(math.expm1(1 - spline.min_derivative))
    with torch.no_grad():
        bias.zero_()
        bias.view(-1, spline.parameters_per_channel)[:, 2 * spline.bins :] = raw
