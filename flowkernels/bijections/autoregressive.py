"""Autoregressive bijections: each feature is mapped given the features before it.

Papamakarios, Pavlakou & Murray, "Masked Autoregressive Flow for Density Estimation" (2017,
arXiv 1705.07057), section 3.
"""

from __future__ import annotations

from torch import Tensor

from flowkernels import arguments, ops
from flowkernels.ops.affine_coupling import CHOICES, Layout, Order, ScaleFn

from . import context as contexts
from .base import Bijection, check_channels
from .masked_network import MaskedNetwork

__all__ = ["AffineAutoregressive"]


class AffineAutoregressive(Bijection):
    """Scales and shifts every feature by functions of the features before it.

    z_d = x_d s(x_<d) + t(x_<d) on (B, C); log_det = sum log s. ``forward`` evaluates the network
    once: density estimation is the fast direction, as in a masked autoregressive flow. ``inverse``
    solves for one feature after the other, in one op
    (:func:`flowkernels.ops.affine_autoregressive_inverse`). A new layer is the identity if s is 1
    for zeros, which holds for ``scale_fn`` exp, tanh, softclip and atan.

    Args:
        network: gives shift and raw scale, two outputs for each feature.
        scale_fn, bound, order: how these become scale and shift, see
            :func:`flowkernels.ops.affine_coupling`. The default allows scales from about 1e-3
            to 1e3: one layer may have to fit a whole conditional distribution.

    Raises:
        ValueError: the network does not have two outputs for each feature.

    Example:
        >>> import torch
        >>> layer = AffineAutoregressive(MaskedNetwork(4, hidden=(8,)))
        >>> z, log_det = layer(torch.randn(5, 4))
        >>> z.shape, log_det.shape
        (torch.Size([5, 4]), torch.Size([5]))
    """

    shares_context = True

    def __init__(
        self,
        network: MaskedNetwork,
        *,
        scale_fn: ScaleFn = "softclip",
        bound: float = 7.0,
        order: Order = "scale_then_shift",
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        if not isinstance(network, MaskedNetwork):
            raise TypeError(
                f"{owner}: network must be a MaskedNetwork, got {type(network).__name__}"
            )
        if network.outputs != 2:
            raise ValueError(
                f"{owner}: network must have 2 outputs for each feature, got {network.outputs}"
            )
        arguments.choice(owner, "scale_fn", scale_fn, CHOICES["scale_fn"])
        arguments.positive_number(owner, "bound", bound)
        arguments.choice(owner, "order", order, CHOICES["order"])
        self.network = network
        self.scale_fn, self.bound, self.order = scale_fn, bound, order
        self.context_features = network.context_features

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        check_channels(type(self).__name__, x, self.network.features)
        self._check_context(x, context)
        return ops.affine_coupling(
            x, self.network(x, context), scale_fn=self.scale_fn, bound=self.bound,
            layout=self._layout, order=self.order,
        )  # fmt: skip

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        network = self.network
        check_channels(type(self).__name__, z, network.features)
        self._check_context(z, context)
        # By their context, so that what the network makes of it is computed once for each.
        given = z if context is None else contexts.grouped(z, context)
        weights, biases = network.plain_layers()
        x, log_det = ops.affine_autoregressive_inverse(
            given, weights, biases, degrees=network.degrees, input_order=network.input_order,
            context=None if context is None else context.unsqueeze(1),
            scale_fn=self.scale_fn, bound=self.bound, layout=self._layout, order=self.order,
        )  # fmt: skip
        return (x, log_det) if context is None else (x.flatten(0, 1), log_det.flatten())

    @property
    def _layout(self) -> Layout:
        return "interleaved" if self.network.grouped else "shift_scale"

    def extra_repr(self) -> str:
        return f"scale_fn={self.scale_fn!r}, bound={self.bound}, order={self.order!r}"
