"""Autoregressive bijections: each feature is mapped given the features before it.

Papamakarios, Pavlakou & Murray, "Masked Autoregressive Flow for Density Estimation" (2017,
arXiv 1705.07057), section 3; with splines Durkan et al., "Neural Spline Flows" (2019, arXiv
1906.04032), section 3.2.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from flowkernels import arguments, ops
from flowkernels.ops.affine_coupling import CHOICES, Layout, Order, ScaleFn
from flowkernels.ops.rational_quadratic_spline import Boundary, Convention, parameter_count

from . import context as contexts
from .base import Bijection, check_channels
from .masked_network import Layers, MaskedNetwork
from .spline_coupling import Splines, check_spline

__all__ = ["AffineAutoregressive", "Autoregressive", "SplineAutoregressive"]


class Autoregressive(Bijection):
    """A map of each feature whose parameters a masked network gives of the features before it.

    ``forward`` evaluates the network once: density estimation is the fast direction, as in a
    masked autoregressive flow. ``inverse`` solves for one feature after the other, in one op.
    Subclasses define `_map`, of the network's output, and `_solve`, which takes its layers.

    Args:
        network: gives the parameters of each feature.
        outputs: how many parameters a feature has.
    """

    shares_context = True

    def __init__(self, network: MaskedNetwork, outputs: int) -> None:
        super().__init__()
        owner = type(self).__name__
        if not isinstance(network, MaskedNetwork):
            raise TypeError(
                f"{owner}: network must be a MaskedNetwork, got {type(network).__name__}"
            )
        if network.outputs != outputs:
            raise ValueError(
                f"{owner}: network must have {outputs} outputs for each feature, got "
                f"{network.outputs}"
            )
        self.network = network
        self.context_features = network.context_features

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_channels(type(self).__name__, x, self.network.features)
        self._check_context(x, context)
        return self._map(x, self.network(x, context))

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        network = self.network
        check_channels(type(self).__name__, z, network.features)
        self._check_context(z, context)
        structure: dict[str, Any] = {
            "degrees": network.degrees, "input_order": network.input_order,
        }  # fmt: skip
        if context is None:
            return self._solve(z, network.plain_layers(), structure)
        # By their context, so that what the network makes of it is computed once for each.
        structure["context"] = context.unsqueeze(1)
        x, log_det = self._solve(contexts.grouped(z, context), network.plain_layers(), structure)
        return x.flatten(0, 1), log_det.flatten()

    def _map(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """(z, log_det) of x (B, C) and the network's output."""
        raise NotImplementedError

    def _solve(self, z: Tensor, layers: Layers, structure: dict[str, Any]) -> tuple[Tensor, Tensor]:
        """(x, log_det) of z (*batch, C), by an op."""
        raise NotImplementedError


class AffineAutoregressive(Autoregressive):
    """Scales and shifts every feature by functions of the features before it.

    z_d = (x_d + t(x_<d)) s(x_<d) on (B, C), the form of the paper, where t is minus the
    conditional mean and s the inverse of the deviation; log_det = sum log s. The inverse is
    :func:`flowkernels.ops.affine_autoregressive_inverse`. A new layer is the identity if s is 1
    for zeros, which holds for ``scale_fn`` exp, tanh, softclip and atan.

    Args:
        network: gives shift and raw scale, two outputs for each feature.
        scale_fn, bound, order: how these become scale and shift, see
            :func:`flowkernels.ops.affine_coupling`. The default allows scales from about 1e-3
            to 1e3: one layer may have to fit a whole conditional distribution. With the other
            order, x s + t, the mean that a network has to learn changes with every change of the
            scale, and on correlated data the likelihood rises more slowly.

    Raises:
        ValueError: the network does not have two outputs for each feature.

    Example:
        >>> import torch
        >>> layer = AffineAutoregressive(MaskedNetwork(4, hidden=(8,)))
        >>> z, log_det = layer(torch.randn(5, 4))
        >>> z.shape, log_det.shape
        (torch.Size([5, 4]), torch.Size([5]))
    """

    def __init__(
        self,
        network: MaskedNetwork,
        *,
        scale_fn: ScaleFn = "softclip",
        bound: float = 7.0,
        order: Order = "shift_then_scale",
    ) -> None:
        super().__init__(network, 2)
        owner = type(self).__name__
        arguments.choice(owner, "scale_fn", scale_fn, CHOICES["scale_fn"])
        arguments.positive_number(owner, "bound", bound)
        arguments.choice(owner, "order", order, CHOICES["order"])
        self.scale_fn, self.bound, self.order = scale_fn, bound, order

    def _map(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return ops.affine_coupling(
            x, params, scale_fn=self.scale_fn, bound=self.bound, layout=self._layout,
            order=self.order,
        )  # fmt: skip

    def _solve(self, z: Tensor, layers: Layers, structure: dict[str, Any]) -> tuple[Tensor, Tensor]:
        return ops.affine_autoregressive_inverse(
            z, *layers, **structure, scale_fn=self.scale_fn, bound=self.bound,
            layout=self._layout, order=self.order,
        )  # fmt: skip

    @property
    def _layout(self) -> Layout:
        return "interleaved" if self.network.grouped else "shift_scale"

    def extra_repr(self) -> str:
        return f"scale_fn={self.scale_fn!r}, bound={self.bound}, order={self.order!r}"


class SplineAutoregressive(Splines, Autoregressive):
    """Maps every feature by a rational-quadratic spline whose parameters the features before give.

    z_d = g_d(x_d; x_<d) on (B, C); log_det = sum log g_d'. The inverse is
    :func:`flowkernels.ops.spline_autoregressive_inverse`. Outside [-bound, bound] the splines are
    the identity: standardise the data (:class:`ActNorm`, :class:`Standardize`).

    Args:
        network: gives the parameters, ``parameters_per_channel`` for each feature, side by side
            (``grouped=True``).
        bins, bound, boundary, min_width, min_height, min_derivative, convention, scale: see
            :func:`flowkernels.ops.rational_quadratic_spline`.

    Raises:
        ValueError, TypeError: an argument is out of its range.

    Example:
        >>> import torch
        >>> layer = SplineAutoregressive(MaskedNetwork(4, 23, hidden=(8,), grouped=True), bins=8)
        >>> z, log_det = layer(torch.randn(5, 4))
        >>> z.shape, log_det.shape
        (torch.Size([5, 4]), torch.Size([5]))
    """

    def __init__(
        self,
        network: MaskedNetwork,
        *,
        bins: int = 8,
        bound: float = 3.0,
        boundary: Boundary = "linear",
        min_width: float = 1e-3,
        min_height: float = 1e-3,
        min_derivative: float = 1e-3,
        convention: Convention = "nflows",
        scale: float = 1.0,
    ) -> None:
        owner = type(self).__name__
        options: dict[str, Any] = {
            "bins": bins, "bound": bound, "boundary": boundary, "min_width": min_width,
            "min_height": min_height, "min_derivative": min_derivative, "convention": convention,
            "scale": scale,
        }  # fmt: skip
        check_spline(owner, **options)
        super().__init__(network, parameter_count(bins, boundary))
        self._set_splines(**options)
        if not network.grouped:
            raise ValueError(f"{owner}: network must have grouped=True, got grouped=False")

    def _map(self, x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return ops.rational_quadratic_spline(x, params, **self._splines)

    def _solve(self, z: Tensor, layers: Layers, structure: dict[str, Any]) -> tuple[Tensor, Tensor]:
        weights, biases = layers
        options = structure | self._splines
        return ops.spline_autoregressive_inverse(z, weights, biases, **options)

    def extra_repr(self) -> str:
        return self._shown_splines()
