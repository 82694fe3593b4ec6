"""Dequantisation with learned noise.

Ho, Chen, Srinivas, Duan & Abbeel, "Flow++" (2019), section 3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from flowkernels import arguments, ops
from flowkernels.ops.affine_coupling import Transform

from .base import sum_event, total_log_det
from .conditioners import conv_conditioner
from .preprocessing import Dequantize
from .reshape import Squeeze

__all__ = ["VariationalDequantize"]

# Of the 2x2 blocks of pixels: the lower row, the upper one, the left column, the right one.
_TURNS: tuple[Transform, ...] = ("second", "first", "even", "odd")


class VariationalDequantize(Dequantize):
    r"""Dequantisation with learned noise: x -> (x + u) / levels, u ~ q(u | x) on (0, 1)^D.

    u = Phi(g_x(e)), e ~ N(0, I) in R^D: g_x is a stack of affine couplings of the squeezed noise,
    whose networks read the identity channels and features of the image, and Phi is the standard
    normal distribution function. By the change of variables,

    log q(u | x) = sum_i (w_i^2 - e_i^2) / 2 - log|det dg_x/de|,  w = g_x(e),

    and log_det = -log q(u | x) - D log(levels). With a density p on [0, 1]^D,
    log p((x + u) / levels) + log_det is an unbiased one-sample estimate of a lower bound on
    log P(x) (Ho et al. 2019, section 3.1), and the mean of p / q over several draws is an unbiased
    estimate of P(x). The bound is tight where q is the posterior p(u | x); :class:`Dequantize`
    has the uniform q. Gradients reach the networks through u and log q.

    The paper maps to (0, 1) by a sigmoid. Here it is Phi, so that a new layer, whose networks
    return zeros, draws uniform noise with log q = 0 exactly (the probability integral transform),
    and log q needs no logarithm of a number near 0 or 1. u is kept by levels * eps within its bin,
    eps the spacing of the floating-point numbers at 1, so that ``inverse`` returns x.

    ``centre`` and ``inverse`` are those of :class:`Dequantize`. Densities are at least float32,
    also under autocast.

    Args:
        channels: C of the images.
        levels: 256 for 8-bit images.
        hidden: channels of the networks.
        layers: number of couplings. They change, by turns, the lower and the upper row, the left
            and the right column of the blocks of 2x2 pixels; with several channels, the second
            and the first half of the squeezed channels, then the left and the right column.

    Shapes:
        x (B, C, H, W), uint8 or integers in another dtype, H and W even; z of the same shape, in
        x's dtype if that is floating point, otherwise in the parameters', at least float32.

    Raises:
        ValueError: an argument is out of its range; x has another shape, or it is on the CPU and
            holds a value other than the levels 0, ..., levels-1. On a GPU and under
            ``torch.compile`` the last check would need a host synchronization; z is NaN at such
            values, and so is the log-det of their image.

    Example:
        >>> from flowkernels.flows import glow
        >>> x = torch.randint(256, (5, 3, 8, 8), dtype=torch.uint8)
        >>> layer = VariationalDequantize(3, hidden=8)
        >>> z, log_det = layer(x)
        >>> bool((layer.inverse(z)[0] == x).all())
        True
        >>> flow = glow((3, 8, 8), levels=2, steps=2, hidden=8, dequantize=layer)
        >>> flow.bits_per_dim(x).mean().backward()  # of the flow and of the noise
    """

    def __init__(
        self, channels: int, levels: int = 256, *, hidden: int = 32, layers: int = 2
    ) -> None:
        super().__init__(levels)
        owner = type(self).__name__
        self.channels = arguments.integer(owner, "channels", channels)
        self.hidden = arguments.integer(owner, "hidden", hidden)
        arguments.integer(owner, "layers", layers)
        self.squeeze = Squeeze()
        half = 2 * channels
        # The part of each network's first layer that reads the image, for all networks at once.
        self.features = nn.Sequential(
            nn.Conv2d(2 * half, hidden, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, layers * hidden, 1),
        )
        self.networks = nn.ModuleList(
            conv_conditioner(half, 2 * half, hidden) for _ in range(layers)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        level = self._level(x)
        u, log_q = self._draw(level)
        z, log_det = self._spread(x, level, u)
        return z, log_det - log_q

    def rsample_and_log_prob(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(u, log q(u | x)): reparametrised noise (B, C, H, W) and its log density (B,).

        Example:
            >>> layer = VariationalDequantize(1)
            >>> u, log_q = layer.rsample_and_log_prob(torch.zeros(2, 1, 4, 4))
            >>> u.shape, log_q.tolist()  # a new layer draws uniform noise
            (torch.Size([2, 1, 4, 4]), [0.0, 0.0])
        """
        return self._draw(self._level(x))

    def log_prob(self, u: Tensor, x: Tensor) -> Tensor:
        """log q(u | x) of given noise (B, C, H, W), 0 < u < 1, shape (B,).

        Example:
            >>> layer = VariationalDequantize(1)
            >>> layer.log_prob(torch.rand(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)).shape
            torch.Size([2])
        """
        level = self._level(x)
        arguments.floating_tensor(type(self).__name__, "u", u)
        if u.shape != x.shape:
            raise ValueError(
                f"{type(self).__name__}: u must have the shape of x, {tuple(x.shape)}, "
                f"got {tuple(u.shape)}"
            )
        w = torch.special.ndtri(self.squeeze(u.to(self._precision))[0])
        e, log_det = self._couple(w, self._features(level), inverse=True)
        return _difference(w, e) + log_det

    @property
    def _precision(self) -> torch.dtype:
        """The dtype of the noise: the parameters', at least float32."""
        return torch.promote_types(self._weights, torch.float32)

    @property
    def _weights(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def _dtype(self, x: Tensor) -> torch.dtype:
        return x.dtype if x.is_floating_point() else self._precision

    def _level(self, x: Tensor) -> Tensor:
        level = super()._level(x)
        if x.ndim != 4 or x.shape[1] != self.channels or x.shape[2] % 2 or x.shape[3] % 2:
            raise ValueError(
                f"{type(self).__name__}: x must have shape (B, {self.channels}, H, W) with even "
                f"H and W, got {tuple(x.shape)}"
            )
        return level

    def _draw(self, level: Tensor) -> tuple[Tensor, Tensor]:
        features = self._features(level)
        shape = (len(level), 4 * self.channels, level.shape[2] // 2, level.shape[3] // 2)
        e = torch.randn(shape, dtype=self._precision, device=level.device)
        u, log_q = self._noise(e, features)
        margin = self.levels * max(torch.finfo(u.dtype).eps, torch.finfo(level.dtype).eps)
        return u.clamp(margin, 1 - margin), log_q

    def _noise(self, e: Tensor, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """(u, log q(u | x)) of squeezed normal noise."""
        w, log_det = self._couple(e, features, inverse=False)
        u, _ = self.squeeze.inverse(torch.special.ndtr(w))
        return u, _difference(w, e) - log_det

    def _features(self, level: Tensor) -> tuple[Tensor, ...]:
        """Of images, for each coupling."""
        centred = (2 * level + 1) / self.levels - 1
        image, _ = self.squeeze(centred.to(self._weights))
        features: Tensor = self.features(image)
        return features.chunk(len(self.networks), 1)

    def _couple(
        self, e: Tensor, features: tuple[Tensor, ...], *, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        """g_x or its inverse, and its log-det."""
        layers = list(enumerate(zip(self.networks, features, strict=True)))
        log_dets = []
        for i, (network, of_image) in reversed(layers) if inverse else layers:
            turn = _TURNS[i % len(_TURNS)]
            kept, e = ops.identity_split(e, 2 * self.channels, transform=turn)
            assert isinstance(network, nn.Sequential)
            first, *others = network
            params = first(kept.to(self._weights)) + of_image
            for layer in others:
                params = layer(params)
            e, log_det = ops.affine_coupling_split(e, params, transform=turn, inverse=inverse)
            log_dets.append(log_det)
        return e, total_log_det(e, log_dets)

    def extra_repr(self) -> str:
        return (
            f"channels={self.channels}, levels={self.levels}, hidden={self.hidden}, "
            f"layers={len(self.networks)}"
        )


def _difference(w: Tensor, e: Tensor) -> Tensor:
    """log N(e) - log N(w) of each row."""
    return sum_event((w - e) * (w + e)) / 2
