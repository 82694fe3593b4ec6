"""Maps from R^d onto the open simplex, in logarithms, with their log-dets.

log|det| is that of z -> (s_1, ..., s_d): with respect to Lebesgue measure on the first d
coordinates, as in ``torch.distributions.Dirichlet.log_prob``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkernels import arguments

from .base import Bijection


class SimplexBijection(Bijection):
    """R^d onto the open simplex {s in R^(d+1): s > 0, sum s = 1}.

    A coordinate of e^-200 underflows to 0 in float32; its logarithm does not. Use
    ``log_forward`` and ``log_inverse`` in computations, ``forward`` and ``inverse`` for the
    point itself. The inverses are computed in float64.

    Args:
        dim: d.

    Shapes:
        z (..., d), s (..., d+1), log_det (...).

    Raises:
        ValueError: `dim` is below 1, or a tensor's last dimension has the wrong size.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = arguments.integer(type(self).__name__, "dim", dim)

    def log_forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(log s, log|det ds/dz|) of z (..., d), both at least float32."""
        raise NotImplementedError(f"{type(self).__name__} does not define log_forward")

    def log_inverse(self, log_s: Tensor) -> tuple[Tensor, Tensor]:
        """(z, log|det dz/ds|) of log s (..., d+1)."""
        raise NotImplementedError(f"{type(self).__name__} does not define log_inverse")

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_s, log_det = self.log_forward(x)
        return log_s.exp().to(x.dtype), log_det

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = self.log_inverse(self._promoted("s", z, self.dim + 1).log())
        return x.to(z.dtype), log_det

    def _promoted(self, name: str, x: Tensor, size: int) -> Tensor:
        arguments.tensor(type(self).__name__, name, x)
        if x.ndim < 1 or x.shape[-1] != size:
            raise ValueError(
                f"{type(self).__name__}: {name} must have shape (..., {size}), got {tuple(x.shape)}"
            )
        return x.to(torch.promote_types(x.dtype, torch.float32))

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class StickBreaking(SimplexBijection):
    """s_k = v_k prod_{l<k} (1 - v_l), v_k = sigmoid(x_k), x_k = z_k - log(d - k + 1), k = 1..d.

    log|det| = sum_k [log s_k + log(1 - v_k)] = sum_k [log v_k + (d - k + 1) log(1 - v_k)];
    s_{d+1} is the remainder, and z = 0 maps to the centre. The same map as
    ``torch.distributions.StickBreakingTransform``.

    Example:
        >>> s, log_det = StickBreaking(3)(torch.zeros(2, 3))
        >>> s[0].tolist()
        [0.25, 0.25, 0.25, 0.25]
        >>> log_s, _ = StickBreaking(2).log_forward(torch.tensor([-300.0, 0.0]))
        >>> [round(v, 2) for v in log_s.tolist()]  # e^-300.69 underflows float32
        [-300.69, -0.69, -0.69]
    """

    def log_forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self._promoted("z", x, self.dim)
        pieces = pieces_left(x)
        logit = x - pieces.log()
        log_v, log_rest = F.logsigmoid(logit), F.logsigmoid(-logit)
        left = log_rest.cumsum(-1)
        taken = torch.cat([log_v[..., :1], log_v[..., 1:] + left[..., :-1]], -1)
        return torch.cat([taken, left[..., -1:]], -1), _stick_log_det(log_v, log_rest, pieces)

    def log_inverse(self, log_s: Tensor) -> tuple[Tensor, Tensor]:
        dtype = self._promoted("log_s", log_s, self.dim + 1).dtype
        log_s = log_s.double()
        # log of the remainder after piece k; a running sum, whose float32 roundings would add up
        left = log_s.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:]
        pieces = pieces_left(left)
        logit = log_s[..., :-1] - left
        log_det = _stick_log_det(F.logsigmoid(logit), F.logsigmoid(-logit), pieces)
        return (logit + pieces.log()).to(dtype), -log_det.to(dtype)


class AdditiveLogRatio(SimplexBijection):
    """s = softmax([z, 0]); log|det| = sum over the d + 1 coordinates of log s_k.

    z_i = log s_i - log s_{d+1} (Aitchison, The Statistical Analysis of Compositional Data,
    1982); z = 0 maps to the centre. The log-det is a difference of large sums, computed in
    float64.

    Example:
        >>> s, _ = AdditiveLogRatio(3)(torch.zeros(2, 3))
        >>> s[0].tolist()
        [0.25, 0.25, 0.25, 0.25]
        >>> z = torch.randn(5, 3)
        >>> torch.allclose(AdditiveLogRatio(3).inverse(AdditiveLogRatio(3)(z)[0])[0], z, atol=1e-5)
        True
    """

    def log_forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self._promoted("z", x, self.dim)
        zero = torch.zeros_like(x[..., :1])
        normalizer = log_sum_exp(x, zero)
        log_det = x.sum(-1, dtype=torch.float64) - (self.dim + 1) * normalizer
        log_s = torch.cat([x, zero], -1) - normalizer.unsqueeze(-1).to(x.dtype)
        return log_s, log_det.to(x.dtype)

    def log_inverse(self, log_s: Tensor) -> tuple[Tensor, Tensor]:
        dtype = self._promoted("log_s", log_s, self.dim + 1).dtype
        log_s = log_s.double()
        return (log_s[..., :-1] - log_s[..., -1:]).to(dtype), -log_s.sum(-1).to(dtype)


def pieces_left(x: Tensor) -> Tensor:
    """d - k + 1 for k = 1..d."""
    return torch.arange(x.shape[-1], 0, -1, dtype=x.dtype, device=x.device)


def _stick_log_det(log_v: Tensor, log_rest: Tensor, pieces: Tensor) -> Tensor:
    return (log_v + pieces * log_rest).sum(-1)


def log_sum_exp(x: Tensor, last: Tensor) -> Tensor:
    """log(sum exp x + exp last) in float64, x (..., d) and last (..., 1) of any dtype.

    The exponentials are computed in x's dtype: their rounding errors average out. The sum and
    its logarithm, which a density multiplies by d, are computed in float64.
    """
    top = torch.maximum(x.amax(-1, keepdim=True), last).detach()
    total = (x - top).exp().sum(-1, dtype=torch.float64) + (last - top).exp().squeeze(-1)
    return top.squeeze(-1) + total.log()
