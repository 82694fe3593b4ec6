"""Dirichlet bases: latents whose image on the simplex has a Dirichlet distribution."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Gamma

from flowkernels import arguments
from flowkernels.bijections.simplex import (
    AdditiveLogRatio,
    SimplexBijection,
    StickBreaking,
    log_sum_exp,
)
from flowkernels.interpolation import simplex_linear
from flowkernels.synchronization import has_values, shown

from .base import Base

if TYPE_CHECKING:
    from typing_extensions import Self


class SimplexDirichlet(Base):
    """z in R^d whose image on the simplex of R^(d+1) is Dirichlet(c, ..., c).

    A fixed linear map before the simplex map gives the latents mean 0 and unit covariance for
    every c and d. A new flow's outputs have these moments too; without the map its initial
    log-likelihood would be thousands of nats too low. The path between two latents is the
    straight line on the simplex (Fadel et al. 2021, section 3, p = 1). The density is a formula
    in the latent: the map's log-det and the simplex density would each be tens of thousands of
    nats and nearly cancel. Its constants are computed in float64 from the buffer `concentration`.

    Args:
        dim: d.
        concentration_scale: c of every coordinate; 1 is uniform on the simplex.

    Attributes:
        simplex: the map from unconstrained coordinates to the simplex.

    Raises:
        ValueError: c is not positive and finite.
    """

    concentration: Tensor
    simplex: SimplexBijection

    def __init__(self, dim: int, concentration_scale: float = 1.0) -> None:
        super().__init__(dim, default_path="simplex_linear")
        c = arguments.positive_number(
            type(self).__name__, "concentration_scale", concentration_scale
        )
        self.simplex = self._make_simplex()
        self.register_buffer("concentration", torch.tensor(c))
        self._value = c  # the last that could be read
        self._refresh()

    def log_forward(self, z: Tensor) -> Tensor:
        """Log of the simplex point (*batch, d+1) of a latent (*batch, d)."""
        return self.simplex.log_forward(self._coordinates(z))[0]

    def log_inverse(self, log_s: Tensor) -> Tensor:
        """The latent (*batch, d) of the log of a simplex point (*batch, d+1)."""
        return self._standardized(self.simplex.log_inverse(log_s)[0])

    def path(self, a: Tensor, b: Tensor, t: Tensor | float, name: str | None = None) -> Tensor:
        """The line between the simplex points of a and b; `name` as in :meth:`Base.path`."""
        if name not in (None, "simplex_linear"):
            return super().path(a, b, t, name)
        return simplex_linear(_LatentMap(self))(a, b, t)

    @property
    def concentration_scale(self) -> float:
        """The c of every coordinate."""
        return self.concentration.item()

    def _make_simplex(self) -> SimplexBijection:
        raise NotImplementedError

    def _coordinates(self, z: Tensor) -> Tensor:
        """The simplex map's coordinates of a latent."""
        raise NotImplementedError

    def _standardized(self, coordinates: Tensor) -> Tensor:
        """The latent of the simplex map's coordinates."""
        raise NotImplementedError

    def _set_constants(self, c: float) -> None:
        raise NotImplementedError

    def _promoted(self, z: Tensor) -> Tensor:
        return z.to(torch.promote_types(z.dtype, torch.float32))

    def _refresh(self) -> None:
        """Recompute the constants. Casting them would keep the rounding of the old dtype."""
        if has_values(self.concentration):
            value = self.concentration.item()
            if _is_scale(value):  # not so in the memory that `to_empty` takes
                self._value = value
        self._set_constants(self._value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._refresh()
        return self

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], *args: Any) -> None:
        super()._load_from_state_dict(state_dict, *args)
        if has_values(self.concentration) and not _is_scale(self.concentration.item()):
            prefix, errors = args[0], args[-1]
            got = self.concentration.item()
            errors.append(f"{prefix}concentration must be positive and finite, got {got}")
        self._refresh()

    def extra_repr(self) -> str:
        return f"dim={self.dim}, concentration_scale={shown(self.concentration)}"


def _is_scale(c: float) -> bool:
    return c > 0 and math.isfinite(c)


class StickBreakingDirichlet(SimplexDirichlet):
    """Dirichlet under stick-breaking: the logits of independent Betas, standardised.

    With x_k = m_k + s_k z_k, a_k = c and b_k = c (d - k + 1), k = 1..d,

        log p(z) = sum_k [a_k log sigmoid(x_k) + b_k log sigmoid(-x_k) - log B(a_k, b_k) + log s_k]
                 = sum_k [a_k x_k + (a_k + b_k) log sigmoid(-x_k) - log B(a_k, b_k) + log s_k]

    where :class:`StickBreaking` maps zeta_k, x_k = zeta_k - log(d - k + 1); the powers in its
    log-det are merged with the Dirichlet's. m_k = psi(a_k) - psi(b_k) and
    s_k^2 = psi'(a_k) + psi'(b_k) are the mean and variance of the logit of Beta(a_k, b_k), so
    the latents are independent with mean 0 and variance 1.

    Args, Raises:
        As :class:`SimplexDirichlet`.

    Example:
        >>> base = StickBreakingDirichlet(784)
        >>> z = base.sample(64)
        >>> round(z.std().item(), 1), base.log_prob(z).shape
        (1.0, torch.Size([64]))
        >>> base.path(z[0], z[1], torch.linspace(0, 1, 5)).shape
        torch.Size([5, 784])
    """

    shift: Tensor
    spread: Tensor
    weight: Tensor
    constant: Tensor
    log_pieces: Tensor

    def _make_simplex(self) -> SimplexBijection:
        return StickBreaking(self.dim)

    def _set_constants(self, c: float) -> None:
        # On the CPU, whatever the default device.
        pieces = torch.arange(self.dim, 0, -1, dtype=torch.float64, device="cpu")
        a, b = torch.full_like(pieces, c), c * pieces
        variance = torch.polygamma(1, a) + torch.polygamma(1, b)
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        like = self.concentration
        dtype = torch.promote_types(like.dtype, torch.float32)
        for name, value in {
            "shift": torch.digamma(a) - torch.digamma(b),
            "spread": variance.sqrt(),
            "weight": a + b,
            "constant": 0.5 * variance.log() - log_beta,
            "log_pieces": pieces.log(),
        }.items():
            self.register_buffer(name, value.to(like.device, dtype), persistent=False)

    def _log_prob(self, z: Tensor) -> Tensor:
        x = self._logits(z)
        terms = self.concentration * x + self.weight * F.logsigmoid(-x) + self.constant
        return terms.sum(-1)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, d), the logits of Betas as differences of log-Gammas."""
        c = self.concentration.double().expand(self.dim)
        shape = torch.Size(sample_shape)
        x = log_gamma_rsample(c, shape) - log_gamma_rsample(self.weight.double() - c, shape)
        return ((x - self.shift) / self.spread).to(self.concentration.dtype)

    def _logits(self, z: Tensor) -> Tensor:
        return self.shift + self.spread * self._promoted(z)

    def _coordinates(self, z: Tensor) -> Tensor:
        return self._logits(z) + self.log_pieces

    def _standardized(self, coordinates: Tensor) -> Tensor:
        return (coordinates - self.log_pieces - self.shift) / self.spread


class LogRatioDirichlet(SimplexDirichlet):
    """Dirichlet under the additive log-ratio, standardised; symmetric in the coordinates.

    Its coordinates log g_i - log g_0, g_i ~ Gamma(c), have covariance psi'(c) (I + 11'). With
    w = s z, s^2 = psi'(c), and m = h sum w, h = (sqrt(d + 1) - 1) / d, the map w + m
    is s times the square root of I + 11': the latents have mean 0 and covariance I. As a point
    of the simplex is softmax([w + m, 0]) = softmax([w, -m]),

        log p(z) = c (sum_i w_i - m) - c (d + 1) logsumexp([w, -m])
                   + log Gamma(c (d + 1)) - (d + 1) log Gamma(c) + d log s + log(d + 1) / 2.

    The two sums are large and nearly cancel, so they are computed in float64.

    Args, Raises:
        As :class:`SimplexDirichlet`.

    Example:
        >>> base = LogRatioDirichlet(784, 2.0)
        >>> z = base.sample(64)
        >>> round(z.std().item(), 1), base.log_prob(z).shape
        (1.0, torch.Size([64]))
    """

    def _make_simplex(self) -> SimplexBijection:
        return AdditiveLogRatio(self.dim)

    def _set_constants(self, c: float) -> None:
        d = self.dim
        at = torch.tensor(c, dtype=torch.float64, device="cpu")  # whatever the default device
        variance = torch.polygamma(1, at).item()
        # Python floats: torch keeps them in float64 when the other operand is float64.
        self._c, self._spread = c, math.sqrt(variance)
        self._common = (math.sqrt(d + 1) - 1) / d
        self._constant = (
            math.lgamma(c * (d + 1))
            - (d + 1) * math.lgamma(c)
            + 0.5 * (d * math.log(variance) + math.log(d + 1))
        )

    def _log_prob(self, z: Tensor) -> Tensor:
        w = self._spread * self._promoted(z)
        total = w.sum(-1, keepdim=True, dtype=torch.float64)
        common = self._common * total
        centred = (total - common).squeeze(-1) - (self.dim + 1) * log_sum_exp(w, -common)
        return (self._c * centred + self._constant).to(w.dtype)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, d), differences of log-Gammas."""
        c = self.concentration.double().expand(self.dim + 1)
        logs = log_gamma_rsample(c, torch.Size(sample_shape))
        return self._standardized(logs[..., :-1] - logs[..., -1:]).to(self.concentration.dtype)

    def _coordinates(self, z: Tensor) -> Tensor:
        w = self._spread * self._promoted(z)
        return w + self._common * w.sum(-1, keepdim=True)

    def _standardized(self, coordinates: Tensor) -> Tensor:
        back = self._common / math.sqrt(self.dim + 1)
        total = coordinates.sum(-1, keepdim=True)
        return (coordinates - back * total) / self._spread


class _LatentMap:
    """Adapts a Dirichlet base to :func:`simplex_linear`, which ignores the log-dets."""

    def __init__(self, base: SimplexDirichlet) -> None:
        self.base = base

    def log_forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.base.log_forward(x), x[..., 0]

    def log_inverse(self, log_s: Tensor) -> tuple[Tensor, Tensor]:
        return self.base.log_inverse(log_s), log_s[..., 0]


def log_gamma_rsample(concentration: Tensor, sample_shape: torch.Size) -> Tensor:
    """Logarithms of Gamma(concentration, 1) draws, reparametrised, never -inf.

    G_a = G_{a+1} U^(1/a) (Marsaglia & Tsang 2000, section 6). For small a the second factor
    underflows, but its logarithm -E / a, with E exponential, does not.

    Example:
        >>> log_gamma_rsample(torch.tensor(1e-3), torch.Size([4])).isfinite().all()
        tensor(True)
    """
    boosted = Gamma(concentration + 1, torch.ones_like(concentration), validate_args=False)
    draws = boosted.rsample(sample_shape)
    return draws.log() - torch.empty_like(draws).exponential_() / concentration
