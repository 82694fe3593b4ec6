"""A linear map of the channels in LU form."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkernels import arguments, ops
from flowkernels.precision import full_precision

from .base import Bijection, check_channels, constant_log_det, positions
from .conv1x1 import mix_channels

__all__ = ["LULinear"]


class LULinear(Bijection):
    r"""z = L U x + bias at every position of (B, C, *S), L unit lower and U upper triangular.

    The diagonal of U is softplus(raw) + 1e-3, positive, so the map is always invertible;
    log_det = prod(S) sum log diag(U). A new layer is the identity. The inverse solves the two
    triangles. It keeps the order of the channels: put a :class:`Permutation` before it to mix
    them in any order, as in Oliva et al., "Transformation Autoregressive Networks" (2018), and
    Durkan et al., "Neural Spline Flows" (2019).

    Autocast is disabled, since in lower precision the two maps would not invert each other.

    Args:
        channels: C.
        bias: whether there is one.

    Raises:
        ValueError: `channels` is below 1, or the input does not have C channels.

    Example:
        >>> layer = LULinear(4)
        >>> x = torch.randn(5, 4)
        >>> z, log_det = layer(x)
        >>> bool((z - x).abs().max() < 1e-6), log_det.shape
        (True, torch.Size([5]))
    """

    reversible = True
    least = 1e-3  # of the diagonal, so that the inverse stays bounded

    bias: nn.Parameter | None

    def __init__(self, channels: int, *, bias: bool = True) -> None:
        super().__init__()
        arguments.integer("LULinear", "channels", channels)
        arguments.flag("LULinear", "bias", bias)
        self.lu = nn.Parameter(torch.zeros(channels, channels))  # its diagonal is not used
        raw = math.log(math.expm1(1 - self.least))
        self.raw_diagonal = nn.Parameter(torch.full((channels,), raw))
        self.register_parameter("bias", nn.Parameter(torch.zeros(channels)) if bias else None)

    @property
    def channels(self) -> int:
        return self.raw_diagonal.shape[0]

    def factors(self) -> tuple[Tensor, Tensor]:
        """L and U."""
        one = torch.eye(self.channels, dtype=self.lu.dtype, device=self.lu.device)
        return self.lu.tril(-1) + one, self.lu.triu(1) + torch.diag_embed(self._diagonal())

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_channels("LULinear", x, self.channels)
        with full_precision(x):
            lower, upper = self.factors()
            return mix_channels(x, lower @ upper, self.bias), self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        check_channels("LULinear", z, self.channels)
        with full_precision(z):
            lower, upper = self.factors()
            dtype = torch.promote_types(upper.dtype, torch.float32)
            rows = z.to(upper.dtype).movedim(1, -1)  # (B, *S, C)
            rows = (rows if self.bias is None else rows - self.bias).to(dtype)
            shape = rows.shape
            # Rows on the left: x (L U)^T = z.
            lower_t, upper_t = lower.to(dtype).mT, upper.to(dtype).mT
            rows = rows.reshape(-1, self.channels)
            rows = _solve(lower_t, rows, upper=True, unitriangular=True)
            rows = _solve(upper_t, rows, upper=False)
            x = rows.to(upper.dtype).reshape(shape).movedim(-1, 1).contiguous()
            return x, -self._log_det(z)

    def _diagonal(self) -> Tensor:
        return F.softplus(self.raw_diagonal) + self.least

    def _log_det(self, x: Tensor) -> Tensor:
        return constant_log_det(x, positions(x) * ops.log_det_diagonal(self._diagonal()))

    def extra_repr(self) -> str:
        return f"channels={self.channels}, bias={self.bias is not None}"


def _solve(matrix: Tensor, rows: Tensor, **options: bool) -> Tensor:
    """The y with y matrix = rows."""
    solved: Tensor = torch.linalg.solve_triangular(matrix, rows, left=False, **options)
    return solved
