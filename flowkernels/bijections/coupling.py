"""Couplings, and the affine one.

Dinh, Sohl-Dickstein & Bengio, "Density estimation using Real NVP" (2017), eq. 4-8.
"""

from __future__ import annotations

from typing import TypedDict

import torch
from torch import Tensor, nn

from flowkernels import arguments, ops
from flowkernels.ops.affine_coupling import CHOICES, Layout, Order, ScaleFn, Transform

from . import context as contexts
from .base import Bijection, check_image
from .conditioners import ReluNetwork, is_plain
from .recompute import Pulled, Tensors


class _Options(TypedDict):
    transform: Transform
    scale_fn: ScaleFn
    bound: float
    layout: Layout
    order: Order


class Coupling(Bijection):
    """A map of part of the channels, whose parameters a network gives of the others.

    Subclasses say how many parameters a coupled channel has (`parameters`) and define `_map`.

    Args:
        conditioner: maps the C - k identity channels (B, C - k, *S) to the parameters of the k
            coupled channels. With a context it is called as ``conditioner(kept, context)``,
            context (B, c); if it has ``shares_context = True``, (R, c) with R a divisor of B,
            each row for B / R consecutive rows of `kept`.
        transform: which channels are coupled: ``"second"`` (the last C - C//2), ``"first"``
            (the first C//2), ``"even"`` (0::2) or ``"odd"`` (1::2).
        context_features: c, how many context features the conditioner reads; default its own
            ``context_features``, 0 where it has none.
    """

    reversible = True
    shares_context = True

    def __init__(
        self,
        conditioner: nn.Module,
        *,
        transform: Transform = "second",
        context_features: int | None = None,
    ) -> None:
        super().__init__()
        owner = type(self).__name__
        if not callable(conditioner):
            raise TypeError(
                f"{owner}: conditioner must be a module, got {type(conditioner).__name__}"
            )
        arguments.choice(owner, "transform", transform, CHOICES["transform"])
        self.conditioner = conditioner
        self.transform: Transform = transform
        self.context_features = _features(owner, conditioner, context_features)

    @property
    def parameters_per_channel(self) -> int:
        """How many parameters the conditioner gives for each coupled channel."""
        raise NotImplementedError

    def _map(self, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        """(z, log_det) of the whole input, or (x, log_det) of the whole output."""
        raise NotImplementedError

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(x, context, inverse=False)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._couple(z, context, inverse=True)

    def pull(
        self,
        z: Tensor,
        grad_z: Tensor,
        grad_log_det: Tensor,
        tensors: Tensors,
        context: Tensor | None = None,
    ) -> Pulled:
        """See :class:`.recompute.Pull`; runs the network once, on the identity channels."""
        kept, z = self._split(z)
        given = kept.detach().requires_grad_()
        params = self._parameters_of(given, context)
        with torch.no_grad():
            x, _ = self._map(z, params, inverse=True)
        grad_x, grad_params = self._gradients(grad_z, grad_log_det, x, params.detach())
        grad_given, *grads = torch.autograd.grad(
            params, (given, *tensors), grad_params, materialize_grads=True
        )
        self._split(grad_x)[0].add_(grad_given)
        return x, grad_x, tuple(grads)

    def _gradients(
        self, grad_z: Tensor, grad_log_det: Tensor, x: Tensor, params: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of x and of the parameters, without a graph."""
        leaves = x.detach().requires_grad_(), params.requires_grad_()
        with torch.enable_grad():
            out = self._map(*leaves, inverse=False)
        grad_x, grad_params = torch.autograd.grad(out, leaves, (grad_z, grad_log_det))
        return grad_x, grad_params

    def _couple(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        check_image(type(self).__name__, x)
        self._check_context(x, context)
        return self._run(x, context, inverse)

    def _run(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        """The network and the map of checked arguments."""
        kept, x = self._split(x)
        return self._map(x, self._parameters_of(kept, context), inverse)

    def _parameters_of(self, kept: Tensor, context: Tensor | None) -> Tensor:
        """What the conditioner returns."""
        network = self.conditioner
        if context is None:
            params: Tensor = network(kept)
        else:
            params = network(kept, contexts.for_module(network, context, kept.shape[0]))
        return params

    def _coupled(self, x: Tensor) -> int:
        """The number of coupled channels."""
        channels = x.shape[1]
        rounds_down = self.transform in ("first", "odd")
        return channels // 2 if rounds_down else channels - channels // 2

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The identity channels, and x."""
        return ops.identity_split(x, self._coupled(x), transform=self.transform)

    def extra_repr(self) -> str:
        context = f", context_features={self.context_features}" if self.context_features else ""
        return f"transform={self.transform!r}{context}"


class AffineCoupling(Coupling):
    """Scales and shifts part of the channels; a network of the others gives scale and shift.

    With x (B, C, *S) = (a, b), a the identity channels and b the coupled channels:
    b' = b s(a) + t(a), a' = a; log_det = sum log s(a). One fused op,
    ``ops.affine_coupling_split``, reads the whole input and writes the whole output. A
    :class:`ReluNetwork` conditioner is fused too (``ops.affine_coupling_mlp``), unless each
    row has a context of its own.

    Args:
        conditioner: maps the C - k identity channels (B, C - k, *S) to parameters
            (B, 2k, *S) of the k coupled channels. With a context it is called as
            ``conditioner(kept, context)``, context (B, c); if it has ``shares_context = True``,
            (R, c) with R a divisor of B, each row for B / R consecutive rows of `kept`.
        transform: which channels are coupled: ``"second"`` (the last C - C//2), ``"first"``
            (the first C//2), ``"even"`` (0::2) or ``"odd"`` (1::2).
        scale_fn, bound, layout, order: how the parameters become scale and
            shift, see :func:`flowkernels.ops.affine_coupling`.
        context_features: c, how many context features the conditioner reads; default its own
            ``context_features``, 0 where it has none.

    Example:
        >>> import torch
        >>> from flowkernels.bijections import mlp_conditioner
        >>> layer = AffineCoupling(mlp_conditioner(3, 2 * 3, hidden=(8,)))
        >>> z, log_det = layer(torch.randn(5, 6))
        >>> log_det.abs().max().item()  # a new conditioner returns zeros
        0.0
        >>> layer = AffineCoupling(mlp_conditioner(3, 2 * 3, context=2))
        >>> layer(torch.randn(5, 6), torch.randn(5, 2))[0].shape
        torch.Size([5, 6])
    """

    parameters_per_channel = 2

    def __init__(
        self,
        conditioner: nn.Module,
        *,
        transform: Transform = "second",
        scale_fn: ScaleFn = "tanh",
        bound: float = 2.0,
        layout: Layout = "shift_scale",
        order: Order = "scale_then_shift",
        context_features: int | None = None,
    ) -> None:
        super().__init__(conditioner, transform=transform, context_features=context_features)
        owner = type(self).__name__
        arguments.positive_number(owner, "bound", bound)
        self.scale_fn, self.bound, self.layout, self.order = scale_fn, bound, layout, order
        for name in ("scale_fn", "layout", "order"):
            arguments.choice(owner, name, getattr(self, name), CHOICES[name])

    def _map(self, x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        return ops.affine_coupling_split(x, params, inverse=inverse, **self._options)

    def _gradients(
        self, grad_z: Tensor, grad_log_det: Tensor, x: Tensor, params: Tensor
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return ops.affine_coupling_split_backward(
                grad_z, grad_log_det, x, params, **self._options
            )

    def _run(self, x: Tensor, context: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
        network = self.conditioner
        # One context for all rows only moves a bias.
        joint = context is None or context.shape[0] == 1
        if joint and x.ndim == 2 and is_plain(network, ReluNetwork):
            layers = network.layers() if context is None else network.layers_given(context)
            if layers is not None and layers[0][-1].shape[0] == 2 * self._coupled(x):
                return ops.affine_coupling_mlp(x, *layers, inverse=inverse, **self._options)
        return super()._run(x, context, inverse)

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
            f"{super().extra_repr()}, scale_fn={self.scale_fn!r}, bound={self.bound}, "
            f"layout={self.layout!r}, order={self.order!r}"
        )


def _features(owner: str, conditioner: nn.Module, given: int | None) -> int:
    """How many context features a conditioner reads: what it says, else what is given."""
    own: int | None = getattr(conditioner, "context_features", None)
    if given is None:
        return own or 0
    arguments.integer(owner, "context_features", given, 0)
    if own not in (None, given):
        raise ValueError(
            f"{owner}: context_features must be the conditioner's own, {own}, got {given}"
        )
    return given
