"""The interface of bijections, and their composition and inversion."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from flowkernels import arguments

from . import context as contexts
from .recompute import (
    Chain,
    Layer,
    Pulled,
    Tensors,
    keeps_activations,
    pull_by_inverse,
    run_chain,
    trainable,
)


class Bijection(nn.Module):
    """An invertible map with a known log-det-Jacobian.

    ``forward`` maps data to latent, ``inverse`` maps back; both return
    ``(value, log_det)``. The first dimension is the batch; ``log_det`` is
    log|det d value / d input| of each row, shape ``(B,)``, at least float32
    for every input dtype. Subclasses define both methods.

    A map that depends on a context says how many features it reads and takes them as a
    second argument, ``forward(x, context)`` and ``inverse(z, context)``; the others have
    ``forward(x)`` and are called without one. A chain may hold both kinds.

    Attributes:
        context_features: c, how many features of a context it reads; 0 for none.
        shares_context: what shape of context it takes. False: (B, c), one context for each
            row. True: also (R, c), R a divisor of B, each for B / R consecutive rows.
        reversible: whether the inverse is accurate and cheap enough to recompute the
            input during backpropagation (see :mod:`.recompute`).

    Example:
        >>> class Shift(Bijection):
        ...     context_features = 2
        ...
        ...     def forward(self, x, context):
        ...         return x + context, constant_log_det(x, 0.0)
        ...
        ...     def inverse(self, z, context):
        ...         return z - context, constant_log_det(z, 0.0)
        >>> chain = Compose([Shift(), Shift()])
        >>> chain(torch.zeros(1, 2), torch.tensor([[1.0, 2.0]]))[0].tolist()
        [[2.0, 4.0]]
    """

    reversible: ClassVar[bool] = False
    context_features: int = 0
    shares_context: ClassVar[bool] = False

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(z, log|det dz/dx|) of the data x."""
        raise NotImplementedError(f"{type(self).__name__} does not define forward")

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(x, log|det dx/dz|) of the latent z."""
        raise NotImplementedError(f"{type(self).__name__} does not define inverse")

    def pull(
        self,
        z: Tensor,
        grad_z: Tensor,
        grad_log_det: Tensor,
        tensors: Tensors,
        context: Tensor | None = None,
    ) -> Pulled:
        """The input and its gradient from the output and its, see :class:`.recompute.Pull`.

        The context is among `tensors` if it requires a gradient.
        """
        forward: Callable[..., tuple[Tensor, Tensor]] = self.forward
        inverse: Callable[..., tuple[Tensor, Tensor]] = self.inverse
        if context is not None:
            given = contexts.for_module(self, context, z.shape[0])
            forward, inverse = partial(forward, context=given), partial(inverse, context=given)
        return pull_by_inverse(forward, inverse)(z, grad_z, grad_log_det, tensors)

    def _check_context(self, x: Tensor, context: Tensor | None) -> None:
        """Raises unless the context is what this bijection reads beside x."""
        if context is not None or self.context_features:
            contexts.check(type(self).__name__, context, self.context_features, x)

    if TYPE_CHECKING:  # nn.Module declares a call as Any

        def __call__(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]: ...


def constant_log_det(x: Tensor, value: Tensor | float) -> Tensor:
    """A log-det that is the same for every row of x, as (B,), at least float32."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    # `new_full` fills on the device; `torch.tensor` would copy from the host.
    constant = value.to(dtype) if isinstance(value, Tensor) else x.new_full((), value, dtype=dtype)
    return constant.expand(x.shape[0])


def total_log_det(x: Tensor, log_dets: Sequence[Tensor]) -> Tensor:
    """The sum of several log-dets for the rows of x, as one operation."""
    if not log_dets:
        return constant_log_det(x, 0.0)
    return torch.stack(tuple(log_dets)).sum(0) if len(log_dets) > 1 else log_dets[0]


def sum_event(x: Tensor) -> Tensor:
    """The sum over everything but the batch dimension, at least in float32."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    return x.flatten(1).sum(1, dtype=dtype) if x.ndim > 1 else x.to(dtype)


def positions(x: Tensor) -> int:
    """prod(S), the number of positions of a tensor (B, C, *S)."""
    return x.shape[2:].numel()


def check_batch(name: str, x: Tensor) -> None:
    """Raises unless x is a tensor (B, *event)."""
    arguments.tensor(name, "x", x)
    if x.ndim < 1:
        raise ValueError(f"{name}: expected shape (B, *event), got ()")


def check_image(name: str, x: Tensor) -> None:
    """Raises unless x is a tensor (B, C, *S)."""
    arguments.tensor(name, "x", x)
    if x.ndim < 2:
        raise ValueError(f"{name}: expected shape (B, C, *S), got {tuple(x.shape)}")


def check_channels(name: str, x: Tensor, channels: int) -> None:
    """Raises unless x is a tensor (B, channels, *S)."""
    arguments.tensor(name, "x", x)
    if x.ndim < 2 or x.shape[1] != channels:
        raise ValueError(f"{name}: expected shape (B, {channels}, *S), got {tuple(x.shape)}")


def module_list(owner: str, name: str, bijections: Iterable[Bijection]) -> nn.ModuleList:
    """Bijections in a list of modules; each has to be one."""
    try:
        iterator = iter(bijections)
    except TypeError:
        kind = type(bijections).__name__
        raise TypeError(f"{owner}: {name} must be a sequence of bijections, got {kind}") from None
    given = list(iterator)
    for i, bijection in enumerate(given):
        arguments.module_with(owner, f"{name}[{i}]", bijection, "inverse")
    return nn.ModuleList(given)


class Compose(Bijection):
    """A sequence of bijections: ``forward`` applies them first to last, ``inverse`` last to first.

    Args:
        bijections: the maps, in the order in which ``forward`` applies them. Those that read a
            context must all read the same number of features.

    Attributes:
        recompute: keep no activations for the backward pass, see :mod:`.recompute`.

    Example:
        >>> from flowkernels.bijections import Compose, Flip, Logit
        >>> chain = Compose([Logit(), Flip()])
        >>> z, log_det = chain(torch.full((2, 3), 0.5))
        >>> z.shape, log_det.shape
        (torch.Size([2, 3]), torch.Size([2]))
    """

    shares_context = True

    def __init__(self, bijections: Iterable[Bijection]) -> None:
        super().__init__()
        owner = type(self).__name__
        self.bijections = module_list(owner, "bijections", bijections)
        self.context_features = contexts.common_features(owner, self.bijections)
        self.recompute = False
        self._chain = Chain()

    def __len__(self) -> int:
        return len(self.bijections)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check_context(x, context)
        if self.recompute and keeps_activations() and len(self):
            layers = [_layer(b, context) for b in self.bijections]  # type: ignore[arg-type]
            return run_chain(layers, x, self._chain)
        log_dets = []
        for bijection in self.bijections:
            x, log_det = contexts.forward(bijection, x, context)
            log_dets.append(log_det)
        return x, total_log_det(x, log_dets)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check_context(z, context)
        log_dets = []
        for bijection in reversed(self.bijections):
            z, log_det = contexts.inverse(bijection, z, context)
            log_dets.append(log_det)
        return z, total_log_det(z, log_dets)


def _layer(bijection: Bijection, context: Tensor | None) -> Layer:
    """A bijection as a layer of `run_chain`."""
    if context is None or not contexts.features_of(bijection):
        return Layer(bijection, bijection.pull, trainable(bijection))

    def pull(z: Tensor, grad_z: Tensor, grad_log_det: Tensor, tensors: Tensors) -> Pulled:
        return bijection.pull(z, grad_z, grad_log_det, tensors, context)

    return Layer(
        lambda x: contexts.forward(bijection, x, context),
        pull,
        (*trainable(bijection), *contexts.differentiated(context)),
    )


class Inverse(Bijection):
    """The inverse of a bijection: swaps ``forward`` and ``inverse``.

    Example:
        >>> from flowkernels.bijections import Inverse, Logit
        >>> z, _ = Inverse(Logit(alpha=0.0))(torch.zeros(1, 2))
        >>> z.tolist()
        [[0.5, 0.5]]
    """

    shares_context = True

    def __init__(self, bijection: Bijection) -> None:
        super().__init__()
        arguments.module_with("Inverse", "bijection", bijection, "inverse")
        self.bijection = bijection
        self.context_features = contexts.features_of(bijection)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check_context(x, context)
        return contexts.inverse(self.bijection, x, context)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check_context(z, context)
        return contexts.forward(self.bijection, z, context)
