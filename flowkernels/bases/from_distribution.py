"""A torch distribution as a flow's base."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform, constraints

from .base import Base, as_shape

if TYPE_CHECKING:
    from typing_extensions import Self


class FromDistribution(Base):
    """A ``torch.distributions`` object as a base.

    The base keeps a copy of the distribution. Every tensor in it, including those of nested
    distributions and transforms, becomes a buffer, so that device, dtype and state follow the
    flow. The buffers are not trained; subclass :class:`Base` with Parameters for that.

    Args:
        distribution: of batch shape () and event shape (d,), supported on all of R^d.
        default_path: path of ``interpolate``, a name of :mod:`flowkernels.interpolation`.

    Raises:
        TypeError: `distribution` is not a torch distribution.
        ValueError: its shape or support is wrong.

    Example:
        >>> from torch.distributions import Independent, Laplace
        >>> base = FromDistribution(Independent(Laplace(torch.zeros(3), torch.ones(3)), 1))
        >>> round(base.log_prob(torch.zeros(3)).item(), 4)  # -3 log 2
        -2.0794
        >>> base.double().sample(2).dtype
        torch.float64
    """

    def __init__(self, distribution: Distribution, default_path: str = "linear") -> None:
        if not isinstance(distribution, Distribution):
            raise TypeError(
                "FromDistribution: distribution must be a torch.distributions.Distribution, "
                f"got {type(distribution).__name__}"
            )
        batch, event = tuple(distribution.batch_shape), tuple(distribution.event_shape)
        if batch or len(event) != 1:
            raise ValueError(
                "FromDistribution: distribution must have batch_shape () and event_shape (d,), got "
                f"{batch} and {event}; torch.distributions.Independent turns batch dimensions "
                "into event dimensions"
            )
        if not _is_real(distribution.support):
            raise ValueError(
                f"FromDistribution: distribution must be supported on all of R^{event[0]}, "
                f"got {type(distribution).__name__} on {distribution.support}"
            )
        super().__init__(event[0], default_path)
        self.has_rsample = distribution.has_rsample
        # Detached: deepcopy refuses tensors with an autograd history.
        memo = {id(t): t.detach().clone() for *_, t in _tensors(distribution)}
        self._distribution = copy.deepcopy(distribution, memo)
        for holder in _holders(self._distribution):
            if isinstance(holder, Distribution):
                holder._validate_args = False  # as in the other bases; torch.compile needs it
        for name, _, _, tensor in _tensors(self._distribution):
            self.register_buffer(name, tensor.clone(memory_format=torch.contiguous_format))
        self._bind()

    @property
    def distribution(self) -> Distribution:
        """The distribution; its tensors are this module's buffers."""
        return self._distribution

    def _log_prob(self, z: Tensor) -> Tensor:
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        log_prob: Tensor = self._distribution.log_prob(z)
        return log_prob

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Reparametrised draws; NotImplementedError if the distribution has none."""
        return self._distribution.rsample(torch.Size(sample_shape))

    @torch.no_grad()
    def sample(
        self, sample_shape: int | Sequence[int] = (), context: Tensor | None = None
    ) -> Tensor:
        self._check_context(context)
        return self._distribution.sample(as_shape(sample_shape))

    def as_distribution(self) -> Distribution:  # type: ignore[override]
        """The distribution itself."""
        return self._distribution

    def _bind(self) -> None:
        """Point the distribution's attributes at the current buffers."""
        for name, holder, key, _ in list(_tensors(self._distribution)):
            holder.__dict__[key] = self._buffers[name]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._bind()
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *args: Any) -> None:
        super()._load_from_state_dict(state_dict, *args)
        self._bind()

    def extra_repr(self) -> str:
        return f"{self._distribution}, path={self.default_path!r}"


def _holders(root: Any) -> Iterator[Any]:
    """The distribution itself, then the distributions and transforms nested in it."""
    for _, holder in _named_holders(root, ""):
        yield holder


def _named_holders(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _named_holders(item, f"{name}{i}_")
    elif isinstance(value, (Distribution, Transform)):
        yield name, value
        for key, item in list(vars(value).items()):
            if key != "_inv":  # a transform's inverse refers back to it
                yield from _named_holders(item, f"{name}{key}_")


def _tensors(root: Distribution) -> Iterator[tuple[str, Any, str, Tensor]]:
    """(buffer name, holder, attribute, tensor) of every tensor in a distribution."""
    for name, holder in _named_holders(root, "distribution_"):
        for key, value in list(vars(holder).items()):
            if isinstance(value, Tensor):
                yield f"{name}{key}", holder, key, value


def _is_real(support: Any) -> bool:
    while hasattr(support, "base_constraint"):  # of Independent, of a mixture
        support = support.base_constraint
    return support is constraints.real


__all__ = ["FromDistribution"]
