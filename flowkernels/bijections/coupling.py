"""Affine coupling and the networks that condition it.

Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP" (2017), eq. 4-8.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypedDict, TypeGuard, TypeVar

import torch
from torch import Tensor, nn

from flowkernels import arguments, ops
from flowkernels.ops.affine_coupling import CHOICES, Layout, Order, ScaleFn, Transform

from .base import Bijection, check_image
from .recompute import Pulled, Tensors


class _Options(TypedDict):
    transform: Transform
    scale_fn: ScaleFn
    bound: float
    layout: Layout
    order: Order


class AffineCoupling(Bijection):
    """Scales and shifts part of the channels; a network of the others gives scale and shift.

    With x (B, C, *S) = (a, b), a the identity channels and b the coupled channels:
    b' = b s(a) + t(a), a' = a; log_det = sum log s(a). One fused op,
    ``ops.affine_coupling_split``, reads the whole input and writes the whole output. A
    :class:`ReluNetwork` conditioner is fused too (``ops.affine_coupling_mlp``).

    Args:
        conditioner: maps the C - c identity channels (B, C - c, *S) to parameters
            (B, 2c, *S) of the c coupled channels.
        transform: which channels are coupled, ``"second"`` (the last C - C//2) or
            ``"first"`` (the first C//2).
        scale_fn, bound, layout, order: how the parameters become scale and
            shift, see :func:`flowkernels.ops.affine_coupling`.

    Example:
        >>> import torch
        >>> layer = AffineCoupling(mlp_conditioner(3, 2 * 3, hidden=(8,)))
        >>> z, log_det = layer(torch.randn(5, 6))
        >>> log_det.abs().max().item()  # a new conditioner returns zeros
        0.0
    """

    reversible = True

    def __init__(
        self,
        conditioner: nn.Module,
        *,
        transform: Transform = "second",
        scale_fn: ScaleFn = "tanh",
        bound: float = 2.0,
        layout: Layout = "shift_scale",
        order: Order = "scale_then_shift",
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        if not callable(conditioner):
            raise TypeError(
                f"{owner}: conditioner must be a module, got {type(conditioner).__name__}"
            )
        arguments.positive_number(owner, "bound", bound)
        self.conditioner = conditioner
        self.transform = transform
        self.scale_fn, self.bound, self.layout, self.order = scale_fn, bound, layout, order
        for name, choices in CHOICES.items():
            arguments.choice(owner, name, getattr(self, name), choices)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._couple(x, inverse=False)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._couple(z, inverse=True)

    def pull(self, z: Tensor, grad_z: Tensor, grad_log_det: Tensor, tensors: Tensors) -> Pulled:
        """See :class:`.recompute.Pull`; runs the network once, on the identity channels."""
        kept, z = self._split(z)
        given = kept.detach().requires_grad_()
        params = self.conditioner(given)
        with torch.no_grad():
            x, _ = ops.affine_coupling_split(z, params, inverse=True, **self._options)
            grad_x, grad_params = ops.affine_coupling_split_backward(
                grad_z, grad_log_det, x, params, **self._options
            )
        grad_given, *grads = torch.autograd.grad(
            params, (given, *tensors), grad_params, materialize_grads=True
        )
        self._split(grad_x)[0].add_(grad_given)
        return x, grad_x, tuple(grads)

    def _couple(self, x: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        check_image("AffineCoupling", x)
        network = self.conditioner
        if x.ndim == 2 and _is_plain(network, ReluNetwork):
            layers = network.layers()
            if layers is not None and layers[0][-1].shape[0] == 2 * self._coupled(x):
                return ops.affine_coupling_mlp(x, *layers, inverse=inverse, **self._options)
        kept, x = self._split(x)
        return ops.affine_coupling_split(x, network(kept), inverse=inverse, **self._options)

    def _coupled(self, x: Tensor) -> int:
        """The number of coupled channels: C//2 for "first", C - C//2 for "second"."""
        channels = x.shape[1]
        return channels // 2 if self.transform == "first" else channels - channels // 2

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The identity channels, and x."""
        return ops.identity_split(x, self._coupled(x), transform=self.transform)

    @property
    def _options(self) -> _Options:
        return {
            "transform": self.transform,
            "scale_fn": self.scale_fn,
            "bound": self.bound,
            "layout": self.layout,
            "order": self.order,
        }

    def extra_repr(self) -> str:
        return (
            f"transform={self.transform!r}, scale_fn={self.scale_fn!r}, bound={self.bound}, "
            f"layout={self.layout!r}, order={self.order!r}"
        )


class ReluNetwork(nn.Sequential):
    """Linear layers with ReLUs between them, run by one fused op (:func:`ops.mlp`).

    It behaves as an ``nn.Sequential``: if it contains other layers, or layers with hooks, it
    calls them one by one.

    Example:
        >>> import torch
        >>> ReluNetwork.of_widths(3, 8, 8, 6)(torch.randn(5, 3)).shape
        torch.Size([5, 6])
    """

    @classmethod
    def of_widths(cls, *widths: int) -> ReluNetwork:
        """A new network, given the widths of its input, its hidden layers and its output."""
        if len(widths) < 2:
            raise ValueError(f"ReluNetwork: widths must be at least two numbers, got {widths}")
        for width in widths:
            arguments.integer("ReluNetwork", "widths", width, 0)
        layers: list[nn.Module] = []
        for width_in, width_out in itertools.pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        return cls(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, in) to (B, out)."""
        layers = self.layers()
        if layers is not None:
            return ops.mlp(x, *layers)
        out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return out

    def layers(self) -> tuple[list[Tensor], list[Tensor]] | None:
        """The weights and the biases; None unless the network is plain Linear and ReLU layers."""
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        for i, layer in enumerate(self._modules.values()):
            if not _is_plain(layer, nn.ReLU if i % 2 else nn.Linear):
                return None
            if i % 2 == 0:
                # nn.Module's attribute lookup would take as long as everything else here.
                weight, bias = layer._parameters.get("weight"), layer._parameters.get("bias")
                if weight is None or bias is None:
                    return None
                weights.append(weight)
                biases.append(bias)
        return (weights, biases) if len(self) % 2 else None


M = TypeVar("M", bound=nn.Module)


def _is_plain(layer: nn.Module | None, kind: type[M]) -> TypeGuard[M]:
    """Whether the layer is of exactly this type and has no hooks."""
    return type(layer) is kind and not (
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


def mlp_conditioner(
    in_features: int, out_features: int, hidden: Sequence[int] = (64, 64)
) -> ReluNetwork:
    """A ReLU network whose last layer is zero, so that a new coupling is the identity.

    Example:
        >>> import torch
        >>> mlp_conditioner(3, 6)(torch.randn(2, 3)).abs().sum().item()
        0.0
    """
    owner = "mlp_conditioner"
    arguments.integer(owner, "in_features", in_features, 0)
    arguments.integer(owner, "out_features", out_features, 0)
    hidden = arguments.widths(owner, "hidden", hidden)
    network = ReluNetwork.of_widths(in_features, *hidden, out_features)
    last = network[-1]
    assert isinstance(last, nn.Linear)
    _zeroed(last)
    return network


def conv_conditioner(in_channels: int, out_channels: int, hidden: int = 64) -> nn.Sequential:
    """Glow's 3x3, 1x1, 3x3 convolutions; the last is zero, so a new coupling is the identity.

    Example:
        >>> import torch
        >>> conv_conditioner(2, 4, hidden=8)(torch.randn(1, 2, 4, 4)).shape
        torch.Size([1, 4, 4, 4])
    """
    widths = {"in_channels": in_channels, "out_channels": out_channels, "hidden": hidden}
    for name, width in widths.items():
        arguments.integer("conv_conditioner", name, width)
    last = nn.Conv2d(hidden, out_channels, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(in_channels, hidden, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, hidden, 1),
        nn.ReLU(inplace=True),
        _zeroed(last),
    )


def _zeroed(layer: nn.Linear | nn.Conv2d) -> nn.Module:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
