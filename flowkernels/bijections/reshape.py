"""Volume-preserving rearrangements: squeeze, permutation, and the multi-scale split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from flowkernels import arguments
from flowkernels.synchronization import has_values

from . import context as contexts
from .base import Bijection, check_channels, check_image, constant_log_det, module_list


class Squeeze(Bijection):
    """Space to depth: (B, C, H, W) -> (B, 4C, H/2, W/2) by 2x2 blocks; log_det = 0.

    Real NVP (2017), section 3.6.

    Raises:
        ValueError: H or W is odd.

    Example:
        >>> Squeeze()(torch.zeros(1, 3, 4, 6))[0].shape
        torch.Size([1, 12, 2, 3])
    """

    reversible = True

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        arguments.tensor("Squeeze", "x", x)
        if x.ndim != 4 or x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(
                f"Squeeze: x must have shape (B, C, H, W) with even H and W, got {tuple(x.shape)}"
            )
        # Views and one copy: three times faster on the CPU than pixel_unshuffle, which also
        # returns an empty batch unchanged.
        batch, channels, height, width = x.shape
        blocks = x.reshape(batch, channels, height // 2, 2, width // 2, 2)
        z = blocks.permute(0, 1, 3, 5, 2, 4)
        return z.reshape(batch, 4 * channels, height // 2, width // 2), constant_log_det(x, 0.0)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        arguments.tensor("Squeeze", "z", z)
        if z.ndim != 4 or z.shape[1] % 4:
            raise ValueError(f"Squeeze: z must have shape (B, 4C, H, W), got {tuple(z.shape)}")
        batch, channels, height, width = z.shape
        blocks = z.reshape(batch, channels // 4, 2, 2, height, width)
        x = blocks.permute(0, 1, 4, 2, 5, 3)
        return x.reshape(batch, channels // 4, 2 * height, 2 * width), constant_log_det(z, 0.0)


class Permutation(Bijection):
    """A fixed permutation of the channels of (B, C, *S); log_det = 0.

    Args:
        permutation: z[:, i] = x[:, permutation[i]].

    Raises:
        ValueError: `permutation` does not hold each of 0 ... C-1 once.

    Example:
        >>> Permutation([2, 0, 1])(torch.tensor([[1.0, 2.0, 3.0]]))[0].tolist()
        [[3.0, 1.0, 2.0]]
    """

    reversible = True

    permutation: Tensor

    def __init__(self, permutation: Sequence[int] | Tensor) -> None:
        super().__init__()
        try:
            order = torch.as_tensor(permutation)
        except (TypeError, ValueError, RuntimeError):
            order = torch.empty(())
        if order.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
            raise TypeError(
                "Permutation: permutation must be a sequence or a tensor of integers, got "
                f"{permutation!r:.60}"
            )
        order = order.long()
        if not isinstance(permutation, Tensor):
            given: list[Any] | None = list(permutation)  # `order` may be on meta
        else:
            given = order.tolist() if has_values(order) else None
        if order.ndim != 1 or (given is not None and sorted(given) != list(range(len(given)))):
            raise ValueError(
                f"Permutation: permutation must hold each of 0, ..., C-1 once, got "
                f"{f'shape {tuple(order.shape)}' if given is None else given}"
            )
        self.register_buffer("permutation", order)

    @classmethod
    def random(cls, channels: int, *, seed: int | None = None) -> Permutation:
        """A permutation drawn once, which then stays: it is part of the state.

        Args:
            channels: C.
            seed: gives the same permutation every time; default torch's generator.

        Example:
            >>> first, second = Permutation.random(6, seed=1), Permutation.random(6, seed=1)
            >>> torch.equal(first.permutation, second.permutation)
            True
        """
        arguments.integer("Permutation", "channels", channels)
        generator = None
        if seed is not None:
            arguments.integer("Permutation", "seed", seed, 0)
            generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(channels, generator=generator, device="cpu")
        return cls(order.tolist() if has_values(order) else order)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_channels("Permutation", x, len(self.permutation))
        return x.index_select(1, self.permutation), constant_log_det(x, 0.0)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        check_channels("Permutation", z, len(self.permutation))
        return z.index_select(1, self.permutation.argsort()), constant_log_det(z, 0.0)


class Flip(Bijection):
    """The channels of (B, C, *S) in reverse order; log_det = 0.

    Example:
        >>> Flip()(torch.tensor([[1.0, 2.0, 3.0]]))[0].tolist()
        [[3.0, 2.0, 1.0]]
    """

    reversible = True

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_image("Flip", x)
        return x.flip(1), constant_log_det(x, 0.0)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.forward(z)


class Multiscale(Bijection):
    """Levels of a squeeze and a bijection; half of the channels are split off after each level.

    (B, C, H, W) -> (B, C H W): at every level but the last, the first C/2
    channels go to the latent and the others to the next level. The latent vector
    concatenates these parts in the order of the levels. Real NVP (2017),
    section 3.6, with the prior on the whole latent.

    Args:
        levels: one shape-preserving bijection per level, applied after the
            level's squeeze. Those that read a context must all read the same number of features.
        event_shape: (C, H, W); H and W divisible by 2**len(levels).

    Raises:
        ValueError: H or W of `event_shape` is not divisible by 2**len(levels), or an
            input does not have this shape.

    Example:
        >>> from flowkernels.bijections import ActNormConv1x1
        >>> levels = [ActNormConv1x1(4), ActNormConv1x1(8)]
        >>> z, log_det = Multiscale(levels, (1, 8, 8))(torch.randn(2, 1, 8, 8))
        >>> z.shape
        torch.Size([2, 64])
    """

    shares_context = True

    def __init__(self, levels: Iterable[Bijection], event_shape: Sequence[int]) -> None:
        super().__init__()
        self.levels = module_list("Multiscale", "levels", levels)
        self.context_features = contexts.common_features("Multiscale", self.levels)
        self.event_shape = arguments.shape("Multiscale", "event_shape", event_shape)
        self.squeeze = Squeeze()
        self._part_shapes = latent_shapes(self.event_shape, len(self.levels))

    @classmethod
    def build(
        cls, event_shape: Sequence[int], levels: int, make_level: Callable[[int], Bijection]
    ) -> Multiscale:
        """`levels` levels; ``make_level(channels)`` gets a level's channels after the squeeze."""
        shapes = latent_shapes(event_shape, levels)
        channels = [2 * shape[0] for shape in shapes[:-1]] + [shapes[-1][0]]
        return cls([make_level(c) for c in channels], event_shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        arguments.tensor("Multiscale", "x", x)
        if x.shape[1:] != self.event_shape:
            expected = ", ".join(map(str, self.event_shape))
            raise ValueError(f"Multiscale: x must have shape (B, {expected}), got {tuple(x.shape)}")
        self._check_context(x, context)
        parts: list[Tensor] = []
        total = constant_log_det(x, 0.0)
        for i, level in enumerate(self.levels):
            x, log_det = contexts.forward(level, self.squeeze(x)[0], context)
            total = total + log_det if i else log_det
            if i + 1 < len(self.levels):
                part, x = x.chunk(2, dim=1)
                parts.append(part.flatten(1))
        return torch.cat([*parts, x.flatten(1)], dim=1), total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        arguments.tensor("Multiscale", "z", z)
        sizes = [shape.numel() for shape in self._part_shapes]
        if z.ndim != 2 or z.shape[1] != sum(sizes):
            raise ValueError(
                f"Multiscale: z must have shape (B, {sum(sizes)}), got {tuple(z.shape)}"
            )
        self._check_context(z, context)
        parts = [
            part.reshape(-1, *shape)
            for part, shape in zip(torch.split(z, sizes, dim=1), self._part_shapes, strict=True)
        ]
        x, total = parts[-1], constant_log_det(z, 0.0)
        for i, level in reversed(list(enumerate(self.levels))):
            if i + 1 < len(self.levels):
                x = torch.cat([parts[i], x], dim=1)
            x, log_det = contexts.inverse(level, x, context)
            x, total = self.squeeze.inverse(x)[0], total + log_det
        return x, total


def latent_shapes(event_shape: Sequence[int], levels: int) -> list[torch.Size]:
    """The shapes of the parts of a multi-scale latent, in the order of the levels."""
    event_shape = arguments.shape("Multiscale", "event_shape", event_shape)
    if len(event_shape) != 3 or min(event_shape) < 1:
        raise ValueError(f"Multiscale: event_shape must be (C, H, W), got {tuple(event_shape)}")
    arguments.integer("Multiscale", "levels", levels)
    channels, height, width = event_shape
    if height % 2**levels or width % 2**levels:
        fitting = next(n for n in range(levels, -1, -1) if not (height % 2**n or width % 2**n))
        raise ValueError(
            f"Multiscale: event_shape {tuple(event_shape)}: height and width must be divisible by "
            f"2**levels = {2**levels}; this size allows levels <= {fitting}, or pad the images"
        )
    shapes = []
    for i in range(levels):
        channels, height, width = 4 * channels, height // 2, width // 2
        if i + 1 < levels:
            channels //= 2
        shapes.append(torch.Size((channels, height, width)))
    return shapes
