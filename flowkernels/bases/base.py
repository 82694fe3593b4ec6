"""The interface of a flow's base distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from flowkernels import arguments
from flowkernels.bijections.context import features_of
from flowkernels.distributions.constraints import real_vector
from flowkernels.interpolation import (
    Marginal,
    cauchy_linear,
    get_path,
    path_names,
    spherical_cauchy_linear,
)

if TYPE_CHECKING:
    from typing_extensions import Self


class Base(nn.Module):
    """A distribution on latents z of shape (*batch, d), as a module.

    Subclasses define ``_log_prob`` and ``rsample`` and may override ``path``. One that overrides
    ``log_prob`` itself does without its check of the shape.
    A base that depends on a context (*batch, c) sets ``context_features`` to c and takes it as
    ``_log_prob(z, context)``, ``rsample(sample_shape, context)`` and ``path(..., context)``; the
    others are called without one.

    They hold their parameters as buffers or Parameters, so that device, dtype and state
    follow the flow.

    Args:
        dim: d.
        default_path: name of the path that ``path`` uses by default.

    Attributes:
        event_shape: ``torch.Size([d])``.
        marginal: distribution of each coordinate if the coordinates are i.i.d.; ``path`` uses
            it for "cauchy_linear".
        radial_marginal: distribution of |z| for an isotropic base; ``path`` uses it for
            "spherical_cauchy_linear".
        has_rsample: whether draws are reparametrised.
        context_features: c, how many features of a context it reads; 0 for none.
    """

    context_features: int = 0
    marginal: Marginal | None = None
    radial_marginal: Marginal | None = None
    has_rsample: bool = True

    def __init__(self, dim: int, default_path: str = "linear") -> None:
        super().__init__()
        self.event_shape = torch.Size([arguments.integer(type(self).__name__, "dim", dim)])
        if type(self).path is Base.path:  # an override may know other names
            arguments.choice(type(self).__name__, "default_path", default_path, path_names())
        self.default_path = default_path

    @property
    def dim(self) -> int:
        return self.event_shape[0]

    def log_prob(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Log density of z (*batch, d), in nats, shape (*batch), at least float32.

        The batch shapes of z and of a context (*batch, c) broadcast.
        """
        arguments.vectors(type(self).__name__, "z", z, self.dim)
        self._check_context(context)
        return _called(self._log_prob, z, context)

    def _log_prob(self, z: Tensor) -> Tensor:
        """`log_prob` of latents of the right shape."""
        raise NotImplementedError(f"{type(self).__name__} does not define _log_prob")

    def _check_context(self, context: Tensor | None) -> None:
        """Raises unless the context is what this base reads."""
        owner = type(self).__name__
        if self.context_features:
            arguments.vectors(owner, "context", context, self.context_features)
        elif context is not None:
            raise TypeError(
                f"{owner}: context must be None, as none is read, got {type(context).__name__}"
            )

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Reparametrised draws (*sample_shape, d); of a base that reads a context (*batch, c),
        (*batch, *sample_shape, d).
        """
        raise NotImplementedError(f"{type(self).__name__} does not define rsample")

    @torch.no_grad()
    def sample(
        self, sample_shape: int | Sequence[int] = (), context: Tensor | None = None
    ) -> Tensor:
        """Draws (*sample_shape, d), or (n, d) for a number n, from torch's default generator.

        With a context (*batch, c), (*batch, *sample_shape, d).
        """
        self._check_context(context)
        return _called(self.rsample, as_shape(sample_shape), context)

    def path(self, a: Tensor, b: Tensor, t: Tensor | float, name: str | None = None) -> Tensor:
        """The path `name`, or the base's default path, from a to b (*batch, d).

        t is a number or 0-d -> (*batch, d), or (T,) -> (*batch, T, d). The names are those of
        :mod:`flowkernels.interpolation`.
        """
        name = name or self.default_path
        if name == "cauchy_linear" and self.marginal is not None:
            return cauchy_linear(self.marginal)(a, b, t)
        if name == "spherical_cauchy_linear" and self.radial_marginal is not None:
            return spherical_cauchy_linear(self.radial_marginal)(a, b, t)
        return get_path(name)(a, b, t)

    def as_distribution(self) -> BaseDistribution:
        """A torch distribution of event shape (d,) that shares the base's parameters.

        Example:
            >>> from flowkernels.bases import StandardNormal
            >>> law = StandardNormal(3).as_distribution()
            >>> law.expand((2,)).sample((4,)).shape, law.event_shape
            (torch.Size([4, 2, 3]), torch.Size([3]))

        Raises:
            TypeError: the base reads a context.
        """
        return BaseDistribution(self)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, path={self.default_path!r}"


class BaseDistribution(Distribution):
    """A :class:`Base` with the torch.distributions interface; see :meth:`Base.as_distribution`.

    Args:
        base: the base whose density and draws are used.
        batch_shape: shape of independent copies.
        validate_args: as everywhere in torch.distributions.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = real_vector

    def __init__(
        self,
        base: Base,
        batch_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        if features_of(base):
            raise TypeError(
                f"BaseDistribution: base must read no context, got {type(base).__name__}, which "
                f"reads {features_of(base)} features"
            )
        self.base = base
        self.has_rsample = base.has_rsample
        super().__init__(torch.Size(batch_shape), base.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        new = self._get_checked_instance(type(self), _instance)  # type: ignore[no-untyped-call]
        new.base, new.has_rsample = self.base, self.has_rsample
        Distribution.__init__(new, torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        expanded: Self = new
        return expanded

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.base.rsample(self._extended_shape(torch.Size(sample_shape))[:-1])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.base.sample(self._extended_shape(torch.Size(sample_shape))[:-1])

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        batch = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        return self.base.log_prob(value).expand(batch)


def as_shape(sample_shape: int | Sequence[int]) -> torch.Size:
    """A sample shape from a number of draws or a shape."""
    shape = [sample_shape] if isinstance(sample_shape, int) else sample_shape
    try:
        size = torch.Size(shape)
    except TypeError:
        raise TypeError(
            f"sample_shape must be a number of draws or a shape, got {sample_shape!r}"
        ) from None
    if any(n < 0 for n in size):
        raise ValueError(f"sample_shape must not be negative, got {sample_shape!r}")
    return size


def _called(method: Callable[..., Tensor], argument: Any, context: Tensor | None) -> Tensor:
    """A base's method, with the context if there is one."""
    return method(argument) if context is None else method(argument, context)
