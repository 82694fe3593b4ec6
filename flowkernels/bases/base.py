"""What a base distribution of a flow offers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from flowkernels.interpolation import get_path


class Base(nn.Module):
    """A distribution on latents z of shape (*batch, d), as a module.

    Subclasses define ``log_prob`` and ``rsample`` and may override ``path``.
    Their parameters are buffers or Parameters, so that the device, the dtype
    and the state follow the flow.

    Args:
        dim: d.
        default_path: the name of the path that ``path`` takes when asked for none.

    Attributes:
        event_shape: ``torch.Size([d])``.
    """

    def __init__(self, dim: int, default_path: str = "linear") -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"dim must be at least 1, got {dim}")
        self.event_shape = torch.Size([dim])
        self.default_path = default_path

    @property
    def dim(self) -> int:
        return self.event_shape[0]

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density of z (*batch, d), in nats, shape (*batch), at least float32."""
        raise NotImplementedError(f"{type(self).__name__} does not define log_prob")

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Reparametrised draws (*sample_shape, d)."""
        raise NotImplementedError(f"{type(self).__name__} does not define rsample")

    @torch.no_grad()
    def sample(self, sample_shape: int | Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, d), or (n, d) for a number n, from torch's random state."""
        return self.rsample(as_shape(sample_shape))

    def path(self, a: Tensor, b: Tensor, t: Tensor | float, name: str | None = None) -> Tensor:
        """The path `name`, or this base's own, from a to b (*batch, d).

        t is a number or 0-d -> (*batch, d), or (T,) -> (*batch, T, d); names
        are those of :mod:`flowkernels.interpolation`.
        """
        return get_path(name or self.default_path)(a, b, t)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, path={self.default_path!r}"


def as_shape(sample_shape: int | Sequence[int]) -> torch.Size:
    """A sample shape from a number of draws or a shape."""
    return torch.Size([sample_shape] if isinstance(sample_shape, int) else sample_shape)
