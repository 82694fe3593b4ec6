"""The resampled base: a Gaussian proposal and a learned decision to accept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowkernels.precision import full_precision
from flowkernels.reading import reads_freely

from .acceptance import GroupedAcceptance
from .base import Base, as_shape

__all__ = ["ResampledBase", "factor_size"]

# Numbers in a block of proposals: large enough to finish most rows at once, small enough to stay
# in a cache's reach.
_BLOCK = 1 << 18
# The same where the proposals are made without looking at what has been accepted: a few launches
# for all of them, and 64 MiB.
_UNSEEN_BLOCK = 1 << 24
_EVALUATION_SEED = 21_101_528
# Where T is infinite, a row that has seen so many proposals means an acceptance of nothing.
_PATIENCE = 1_000_000


class ResampledBase(Base):
    """Learned accept/reject sampling (LARS) on R^d, dense or factorised over groups.

    Proposals e ~ N(0, I) are accepted with probability a(e), a network's; the T-th is taken
    whatever it is. With z = loc + scale e, Z = E[a(e)] and al = (1 - Z)^(T-1),

        log p(z) = log N(z; loc, scale^2) + log[(1 - al) a(e) / Z + al]

    (Stimper, Schoelkopf & Hernandez-Lobato 2022, eq. 5-7, after Bauer & Mnih 2019). With G groups
    the latent falls into G runs of d / G coordinates, each with a network, a Z and a decision of
    its own; p is the product over them, and Z stays away from zero however large d is.

    What is known of Z:

    - in training mode it is the mean of a over ``num_z_samples`` fresh proposals, drawn from
      torch's random state; its value is replaced by a moving average, its gradient is kept:
      Z_batch - sg(Z_batch) + Z_ema.
    - in evaluation mode it is the mean over ``num_eval_samples`` proposals of a fixed seed,
      estimated when it is first asked for after the weights have changed and kept; torch's random
      state is not touched. Gradients then go to z, loc and scale, not through Z. The proposals
      are made on the CPU: ask for :attr:`normalizer` before capturing a CUDA graph.

    The accepted value is no differentiable function of the parameters, so there is no ``rsample``;
    :func:`flowkernels.training.reverse_kl.reverse_kl` takes the score function's gradient instead.

    Args:
        dim: d.
        hidden: widths of the acceptance networks.
        groups: G, a divisor of d; 1 is the dense form.
        truncation: T, at least 2; ``math.inf`` never takes a rejected proposal.
        num_z_samples: proposals per training step.
        num_eval_samples: proposals for the Z of evaluation.
        ema: weight of the newest Z in the moving average, in (0, 1].
        trainable: make loc and scale parameters; else they are 0 and 1.
        default_path: the path that ``interpolate`` takes.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> base = ResampledBase(4, hidden=(16,), groups=2).eval()
        >>> z = base.sample(5)
        >>> base.log_prob(z).shape
        torch.Size([5])
        >>> base.normalizer  # a new base accepts half of everything
        tensor([0.5000, 0.5000])
    """

    has_rsample = False
    loc: Tensor
    log_scale: Tensor
    z_ema: Tensor
    z_eval: Tensor

    def __init__(
        self,
        dim: int,
        *,
        hidden: Sequence[int] = (128, 128),
        groups: int = 1,
        truncation: float = 100,
        num_z_samples: int = 1024,
        num_eval_samples: int = 1 << 16,
        ema: float = 0.05,
        trainable: bool = False,
        default_path: str = "norm_corrected",
    ) -> None:
        super().__init__(dim, default_path)
        _check(dim, groups, truncation, hidden, num_z_samples, num_eval_samples, ema)
        self.groups, self.truncation, self.ema = groups, truncation, ema
        self.num_z_samples, self.num_eval_samples = num_z_samples, num_eval_samples
        self.acceptance = GroupedAcceptance(groups, dim // groups, hidden)
        for name in ("loc", "log_scale"):
            start = torch.zeros(dim)
            if trainable:
                self.register_parameter(name, nn.Parameter(start))
            else:
                self.register_buffer(name, start)
        self.register_buffer("z_ema", torch.full((groups,), 0.5))
        # Follows from the weights, so it is no part of the state.
        self.register_buffer("z_eval", torch.full((groups,), 0.5), persistent=False)
        self._estimated_at: tuple[int, ...] | None = None

    @property
    def normalizer(self) -> Tensor:
        """Z of every group (G,), as evaluation mode takes it."""
        at = self._weights_version()
        if self._estimated_at != at:
            # In place: a tensor made here could be one of Lightning's inference mode.
            self.z_eval.copy_(self._evaluated_normalizer())
            self._estimated_at = at
        return self.z_eval

    def expected_proposals(self) -> Tensor:
        """(1 - (1 - Z)^T) / Z of every group (G,): how many proposals a draw takes on average."""
        z = self.normalizer.double()
        return -torch.expm1(self.truncation * torch.log1p(-z)) / z

    def log_prob(self, z: Tensor) -> Tensor:
        if z.shape[-1:] != self.event_shape:
            raise ValueError(f"z must have shape (*batch, {self.dim}), got {tuple(z.shape)}")
        dtype = torch.promote_types(z.dtype, torch.float32)
        # The tails of the acceptance are lost in half precision.
        with full_precision(z):
            log_scale = self.log_scale.to(dtype)
            e = (z.to(dtype) - self.loc.to(dtype)) * torch.exp(-log_scale)
            log_proposal = -0.5 * e.square().sum(-1) - log_scale.sum()
            logits = self.acceptance(e.reshape(-1, self.groups, self.dim // self.groups))
            normalizer = self._training_normalizer(dtype) if self.training else self.normalizer
            log_ratio = log_density_ratio(logits, normalizer.to(dtype), self.truncation)
            total = log_ratio.sum(-1).reshape(z.shape[:-1])
        return log_proposal + total - 0.5 * self.dim * math.log(2 * math.pi)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Not defined: an accepted draw is no differentiable function of the parameters."""
        raise NotImplementedError(
            "ResampledBase has no reparametrised draws: whether a proposal is accepted jumps with "
            "the parameters; use sample, and flowkernels.training.reverse_kl for its gradient"
        )

    @torch.no_grad()
    def sample(self, sample_shape: int | Sequence[int] = ()) -> Tensor:
        """Draws (*sample_shape, d), or (n, d) for a number n, from torch's random state."""
        shape = as_shape(sample_shape)
        e, _ = self.draw(shape.numel())
        z = self.loc + torch.exp(self.log_scale) * e
        return z.reshape(*shape, self.dim).to(self.loc.dtype)

    @torch.no_grad()
    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Accepted e (count, d), and the proposals (count, G) that each group took.

        A round draws a block of k proposals for all groups of all rows that are still open and
        takes the first accepted of each; k grows as rows close, so that T = 100 is a handful of
        rounds and never more than T. A GPU is not asked how many are open, for which it would
        have to be waited for: there every row sees all of its T proposals, if T is finite.
        """
        if not reads_freely(self.loc) and not math.isinf(self.truncation):
            return self._draw_unseen(count)
        size = self.dim // self.groups
        out = self.loc.new_empty(self.groups, count, size, dtype=self._wide)
        taken = torch.zeros(self.groups, count, dtype=torch.long, device=self.loc.device)
        seen = 0
        while most := int((taken == 0).sum(1).max()) if count else 0:
            if math.isinf(self.truncation) and seen >= _PATIENCE:
                raise RuntimeError(f"ResampledBase: {seen} proposals of a row were all rejected")
            # The open rows of each group in front; groups with fewer carry closed ones along.
            rows = (taken > 0).long().argsort(dim=1, stable=True)[:, :most]
            k = max(1, _BLOCK // (self.groups * most * size))
            k = int(min(k, max(16, 4 * seen), self.truncation - seen))
            chosen, first, any_ = self._propose(most, k, final=seen + k == self.truncation)
            settles = any_ & (taken.gather(1, rows) == 0)
            where = rows[settles], torch.nonzero(settles)[:, 0]
            out[where[1], where[0]] = chosen[settles]
            taken[where[1], where[0]] = seen + 1 + first[settles]
            seen += k
        return out.transpose(0, 1).reshape(count, self.dim), taken.T

    def _draw_unseen(self, count: int) -> tuple[Tensor, Tensor]:
        """As `draw`, all T proposals for every row, block by block."""
        size, last = self.dim // self.groups, int(self.truncation)
        out = self.loc.new_zeros(self.groups, count, size, dtype=self._wide)
        taken = torch.zeros(self.groups, count, dtype=torch.long, device=self.loc.device)
        widest = max(size, *(w.shape[-1] for w in self.acceptance.weights))
        block = max(1, _UNSEEN_BLOCK // max(1, self.groups * count * widest))
        for seen in range(0, last, block):
            k = min(block, last - seen)
            chosen, first, any_ = self._propose(count, k, final=seen + k == last)
            settles = any_ & (taken == 0)
            out = torch.where(settles.unsqueeze(-1), chosen, out)
            taken = torch.where(settles, seen + 1 + first, taken)
        return out.transpose(0, 1).reshape(count, self.dim), taken.T

    def _propose(self, rows: int, k: int, final: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Of k proposals a row and group the first that is accepted, its place, and if any is.

        (G, rows, s), (G, rows) and (G, rows); where `final`, the last one is accepted anyway.
        """
        size = self.dim // self.groups
        options: dict[str, Any] = {"dtype": self._wide, "device": self.loc.device}
        e = torch.randn(self.groups, rows, k, size, **options)
        logits = self.acceptance(e.reshape(self.groups, -1, size).transpose(0, 1))
        uniform = torch.rand(self.groups, rows, k, **options)
        accepted = uniform < logits.T.sigmoid().reshape(uniform.shape)
        if final:
            accepted[..., -1].fill_(True)
        first = accepted.long().argmax(-1)
        chosen = e.gather(2, first[..., None, None].expand(-1, -1, 1, size)).squeeze(2)
        return chosen, first, accepted.any(-1)

    @property
    def _wide(self) -> torch.dtype:
        return torch.promote_types(self.loc.dtype, torch.float32)

    def train(self, mode: bool = True) -> ResampledBase:
        """As every module's; the Z of evaluation is estimated anew when it is next needed."""
        self._estimated_at = None
        return super().train(mode)

    def _training_normalizer(self, dtype: torch.dtype) -> Tensor:
        size = self.dim // self.groups
        shape = (self.num_z_samples, self.groups, size)
        e = torch.randn(shape, dtype=dtype, device=self.loc.device)
        batch = self.acceptance(e).sigmoid().mean(0)
        with torch.no_grad():
            average = self.z_ema.lerp(batch.to(self.z_ema.dtype), self.ema)
            self.z_ema.copy_(average)
        return batch - batch.detach() + average

    @torch.no_grad()
    def _evaluated_normalizer(self) -> Tensor:
        # On the CPU whatever the device, so that the proposals are the same everywhere.
        generator = torch.Generator().manual_seed(_EVALUATION_SEED)
        size = self.dim // self.groups
        total = torch.zeros(self.groups, dtype=torch.float64, device=self.loc.device)
        step = max(1, 4 * _BLOCK // self.dim)
        with full_precision(self.loc):
            for start in range(0, self.num_eval_samples, step):
                rows = min(step, self.num_eval_samples - start)
                e = torch.randn(rows, self.groups, size, generator=generator, dtype=torch.float32)
                logits = self.acceptance(e.to(self.loc.device, self._wide))
                total += logits.sigmoid().sum(0, dtype=torch.float64)
        return total / self.num_eval_samples

    def _weights_version(self) -> tuple[int, ...]:
        """Changes with every in-place change of the networks' weights."""
        return tuple(v for p in self.acceptance.parameters() for v in (id(p), p._version))

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        self._estimated_at = None
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        return f"dim={self.dim}, groups={self.groups}, truncation={self.truncation}"


def log_density_ratio(logits: Tensor, normalizer: Tensor, truncation: float) -> Tensor:
    """log[(1 - al) a / Z + al], al = (1 - Z)^(T-1), of the logit of a; in log space throughout.

    (1 - al) / Z lies between 1 and T - 1, whatever Z: bounding Z away from 0 and 1 by less than
    a rounding error keeps it and its gradient finite.
    """
    tiny = torch.finfo(logits.dtype).tiny ** 0.5
    z = normalizer.clamp(tiny, 1 - torch.finfo(logits.dtype).eps)
    log_accept = nn.functional.logsigmoid(logits)
    if math.isinf(truncation):
        return log_accept - z.log()
    log_al = (truncation - 1) * torch.log1p(-z)
    log_accepted = torch.log(-torch.expm1(log_al)) - z.log()
    return torch.logaddexp(log_accept + log_accepted, log_al)


def factor_size(dim: int, most: int = 16) -> int:
    """Coordinates in a group of a factorised base: the largest proper divisor of d up to `most`.

    Example:
        >>> factor_size(784), factor_size(3072), factor_size(2)
        (16, 16, 1)
    """
    return max(s for s in range(1, min(dim - 1, most) + 1) if dim % s == 0) if dim > 1 else 1


def _check(
    dim: int,
    groups: int,
    truncation: float,
    hidden: Sequence[int],
    num_z_samples: int,
    num_eval_samples: int,
    ema: float,
) -> None:
    if groups < 1 or dim % groups:
        raise ValueError(f"groups must divide dim = {dim}, got {groups}")
    if not (truncation >= 2 and (math.isinf(truncation) or truncation == int(truncation))):
        raise ValueError(f"truncation must be a whole number from 2 or inf, got {truncation}")
    if any(width < 1 for width in hidden):
        raise ValueError(f"hidden must be positive, got {tuple(hidden)}")
    for name, value in (("num_z_samples", num_z_samples), ("num_eval_samples", num_eval_samples)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if not 0 < ema <= 1:
        raise ValueError(f"ema must be in (0, 1], got {ema}")
