"""Channel mixing: the invertible 1x1 convolution, alone and fused with a preceding actnorm.

Kingma & Dhariwal, "Glow" (2018), section 3.2. Each layer is one affine map of
the C channels of (B, C, *S) at every position, so its log-det is a constant
times the number of positions.

Autocast is disabled: in lower precision the two maps would not invert each other and the
log-det would be wrong. They are about one percent of a step's work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkernels import arguments
from flowkernels.precision import full_precision

from .actnorm import ActNorm
from .base import Bijection, check_channels, constant_log_det, positions


class ChannelAffine(NamedTuple):
    """z = weight x + bias at every position; leading dimensions stack several maps."""

    weight: Tensor  # (*, C, C)
    bias: Tensor  # (*, C)
    log_det: Tensor  # (), of the whole stack, for one position


class InvertibleConv1x1(Bijection):
    """Invertible 1x1 convolution in PLU form, on (B, C, *S).

    W = P L (U + diag(sign exp(log_diag))) with P a fixed permutation, L unit
    lower and U strictly upper triangular, both kept in one matrix ``lu``;
    log_det = prod(S) sum log_diag (Glow, section 3.2). It starts as a random
    rotation. The inverse solves the two triangles in float64.

    Args:
        channels: C.

    Raises:
        ValueError: the input does not have C channels.

    Example:
        >>> layer = InvertibleConv1x1(4)
        >>> x = torch.randn(2, 4, 8, 8)
        >>> z, log_det = layer(x)
        >>> bool((layer.inverse(z)[0] - x).abs().max() < 1e-5)
        True
    """

    reversible = True

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        arguments.integer("InvertibleConv1x1", "channels", channels)
        rotation = torch.linalg.qr(torch.randn(channels, channels, dtype=torch.float64)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        diag = upper.diagonal()
        dtype = torch.get_default_dtype()
        self.lu = nn.Parameter((lower.tril(-1) + upper.triu(1)).to(dtype))
        self.log_diag = nn.Parameter(diag.abs().log().to(dtype))
        self.register_buffer("permutation", permutation.to(dtype))
        self.register_buffer("sign", diag.sign().to(dtype))

    @property
    def channels(self) -> int:
        return self.log_diag.shape[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_channels(type(self).__name__, x, self.channels)
        with full_precision(x):
            weight = plu_weight(self.permutation, self.lu, self.sign, self.log_diag)
        return mix_channels(x, weight), constant_log_det(x, positions(x) * self.log_diag.sum())

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        check_channels(type(self).__name__, z, self.channels)
        with full_precision(z):
            weight = plu_inverse(self.permutation, self.lu, self.sign, self.log_diag)
        x = mix_channels(z, weight.to(self.lu.dtype))
        return x, constant_log_det(z, -positions(z) * self.log_diag.sum())

    def extra_repr(self) -> str:
        return f"channels={self.channels}"


class ActNormConv1x1(Bijection):
    """ActNorm and the invertible 1x1 convolution as one convolution, on (B, C, *S).

    z = W (s (x + b)) = W' x + W' b, W' = W diag(s): the normalisation needs no pass over
    the data and saves no intermediate for the backward pass.

    Args:
        channels: C.

    Example:
        >>> layer = ActNormConv1x1(4)
        >>> z, log_det = layer(3 + torch.randn(8, 4, 5, 5))
        >>> bool((z.mean((0, 2, 3)).abs() < 1e-4).all())
        True
    """

    reversible = True

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.actnorm = ActNorm(channels)
        self.conv = InvertibleConv1x1(channels)

    def start(self, x: Tensor) -> None:
        """Initialise the normalisation from x unless that has been done."""
        if self.actnorm.awaits_start:
            self.actnorm.start(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.start(x)
        check_channels(type(self).__name__, x, self.actnorm.channels)
        affine = fold([self])
        z = mix_channels(x, affine.weight[0], affine.bias[0])
        return z, constant_log_det(x, positions(x) * affine.log_det)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        check_channels(type(self).__name__, z, self.actnorm.channels)
        affine = fold_inverse([self])
        x = mix_channels(z, affine.weight[0], affine.bias[0])
        return x, constant_log_det(z, positions(z) * affine.log_det)


def fold(layers: Sequence[ActNormConv1x1]) -> ChannelAffine:
    """The forward maps of K layers of equal width, built by a few batched ops."""
    with full_precision(layers[0].conv.lu):
        log_scale, bias, plu = _stacked(layers)
        weight = plu_weight(*plu) * log_scale.exp()[:, None, :]
        log_det = (log_scale + plu[-1]).sum()
        return ChannelAffine(weight, (weight @ bias[..., None]).squeeze(-1), log_det)


def fold_inverse(layers: Sequence[ActNormConv1x1]) -> ChannelAffine:
    """The inverse maps of K layers of equal width, solved in float64."""
    with full_precision(layers[0].conv.lu):
        log_scale, bias, plu = _stacked(layers)
        weight = plu_inverse(*plu) * (-log_scale.double()).exp()[..., None]
        log_det = -(log_scale + plu[-1]).sum()
        return ChannelAffine(weight.to(bias.dtype), -bias, log_det)


def _stacked(
    layers: Sequence[ActNormConv1x1],
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor, Tensor]]:
    norms, convs = [layer.actnorm for layer in layers], [layer.conv for layer in layers]
    log_scale = torch.stack([norm.log_scale for norm in norms])
    bias = torch.stack([norm.bias for norm in norms])
    permutation = torch.stack([conv.permutation for conv in convs])
    lu = torch.stack([conv.lu for conv in convs])
    sign = torch.stack([conv.sign for conv in convs])
    log_diag = torch.stack([conv.log_diag for conv in convs])
    return log_scale, bias, (permutation, lu, sign, log_diag)


def plu_weight(permutation: Tensor, lu: Tensor, sign: Tensor, log_diag: Tensor) -> Tensor:
    """P L (U + diag) of stacked (*, C, C) factors."""
    return permutation @ (_unit_lower(lu) @ _upper(lu, sign, log_diag))


def plu_inverse(permutation: Tensor, lu: Tensor, sign: Tensor, log_diag: Tensor) -> Tensor:
    """The inverse of `plu_weight`, in float64, by two triangular solves."""
    lu = lu.double()
    inner = torch.linalg.solve_triangular(
        _unit_lower(lu), permutation.double().mT, upper=False, unitriangular=True
    )
    upper = _upper(lu, sign.double(), log_diag.double())
    inverse: Tensor = torch.linalg.solve_triangular(upper, inner, upper=True)
    return inverse


def _unit_lower(lu: Tensor) -> Tensor:
    return lu.tril(-1) + torch.eye(lu.shape[-1], dtype=lu.dtype, device=lu.device)


def _upper(lu: Tensor, sign: Tensor, log_diag: Tensor) -> Tensor:
    return lu.triu(1) + torch.diag_embed(sign * log_diag.exp())


def mix_channels(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The matrix (C, C) applied to the channels of x (B, C, *S) at every position."""
    spatial = x.ndim - 2
    with full_precision(x):
        x = x.to(weight.dtype)
        if spatial == 0:
            return F.linear(x, weight, bias)
        conv: Callable[..., Tensor] = (F.conv1d, F.conv2d, F.conv3d)[spatial - 1]
        return conv(x, weight.reshape(*weight.shape, *[1] * spatial), bias)


@torch.no_grad()
def mix_channels_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `mix_channels` in x, weight and bias, without its forward."""
    spatial = x.ndim - 2
    if spatial == 0:
        return grad @ weight, grad.mT @ x, grad.sum(0)
    ones, zeros = [1] * spatial, [0] * spatial
    matrix = weight.reshape(*weight.shape, *ones)
    of_x, of_weight, of_bias = torch.ops.aten.convolution_backward(
        grad, x, matrix, [weight.shape[0]], ones, zeros, ones, False, zeros, 1, [True] * 3
    )
    return of_x, of_weight.reshape(weight.shape), of_bias
