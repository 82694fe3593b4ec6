"""The resampled base: a Gaussian proposal with a learned acceptance probability."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from flowkernels import arguments
from flowkernels.precision import full_precision
from flowkernels.synchronization import has_values, readable_without_sync

from .acceptance import GroupedAcceptance
from .base import Base, as_shape

__all__ = ["ResampledBase", "factor_size"]

# Elements in a block of proposals: enough to finish most rows at once, few enough to fit in cache.
_BLOCK = 1 << 18
# The same when the host does not read which rows were accepted: few launches, 64 MiB.
_BLOCK_WITHOUT_SYNC = 1 << 24
_EVALUATION_SEED = 21_101_528
# With T infinite, sampling gives up after this many rejections of one row.
_MAX_PROPOSALS = 1_000_000


class ResampledBase(Base):
    """Learned accept/reject sampling (LARS) on R^d, dense or factorised over groups.

    A network gives the probability a(e) of accepting a proposal e ~ N(0, I); the T-th proposal
    is always accepted. With z = loc + scale e, Z = E[a(e)] and al = (1 - Z)^(T-1),

        log p(z) = log N(z; loc, scale^2) + log[(1 - al) a(e) / Z + al]

    (Stimper, Schoelkopf & Hernandez-Lobato 2022, eq. 5-7, after Bauer & Mnih 2019). With G groups
    the latent is split into G groups of d / G consecutive coordinates. Each group has its own
    network, its own Z and its own accept decision; p is the product over the groups, and Z stays
    away from zero for large d.

    How Z is estimated:

    - In training mode, Z is the mean of a over ``num_z_samples`` fresh proposals from torch's
      default generator. Its value is replaced by a moving average, its gradient is kept:
      Z_batch - sg(Z_batch) + Z_ema.
    - In evaluation mode, Z is the mean over ``num_eval_samples`` proposals of a fixed seed. It is
      estimated at the first use after a change of the weights and cached; torch's default
      generator is not used. Gradients then reach z, loc and scale, but not Z. The proposals are
      drawn on the CPU: read :attr:`normalizer` before capturing a CUDA graph.

    The accepted value is not a differentiable function of the parameters, so there is no
    ``rsample``; :func:`~flowkernels.experiments.training.reverse_kl.reverse_kl` uses the
    score-function gradient instead.

    Args:
        dim: d.
        hidden: widths of the acceptance networks.
        groups: G, a divisor of d; 1 is the dense form.
        truncation: T, at least 2; ``math.inf`` never takes a rejected proposal.
        num_z_samples: proposals per training step.
        num_eval_samples: proposals for Z in evaluation mode.
        ema: weight of the newest Z in the moving average, in (0, 1].
        trainable: make loc and scale parameters; otherwise they are fixed at 0 and 1.
        default_path: path of ``interpolate``.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> base = ResampledBase(4, hidden=(16,), groups=2).eval()
        >>> z = base.sample(5)
        >>> base.log_prob(z).shape
        torch.Size([5])
        >>> base.normalizer  # a new base accepts with probability 1/2
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
        owner = type(self).__name__
        self.groups, self.truncation, self.ema = groups, truncation, ema
        self.num_z_samples = arguments.integer(owner, "num_z_samples", num_z_samples)
        self.num_eval_samples = arguments.integer(owner, "num_eval_samples", num_eval_samples)
        hidden = arguments.widths(owner, "hidden", hidden)
        arguments.flag(owner, "trainable", trainable)
        _check(owner, dim, groups, truncation, ema)
        self.acceptance = GroupedAcceptance(groups, dim // groups, hidden)
        for name in ("loc", "log_scale"):
            start = torch.zeros(dim)
            if trainable:
                self.register_parameter(name, nn.Parameter(start))
            else:
                self.register_buffer(name, start)
        self.register_buffer("z_ema", torch.full((groups,), 0.5))
        # Derived from the weights, so not saved in the state dict.
        self.register_buffer("z_eval", torch.full((groups,), 0.5), persistent=False)
        self._estimated_at: tuple[int, ...] | None = None

    @property
    def normalizer(self) -> Tensor:
        """Z of every group (G,), as used in evaluation mode."""
        at = self._weights_version()
        if self._estimated_at != at:
            if not has_values(self.loc):  # on meta or fake: there is nothing to estimate
                return torch.empty_like(self.z_ema, dtype=self.z_eval.dtype)
            estimate = self._evaluated_normalizer()
            if not has_values(estimate):
                return estimate.to(self.z_eval.dtype)
            if self.z_eval.device != estimate.device:  # on meta: it is not in the state dict
                self.z_eval = torch.empty_like(self.z_ema)
            # In place: a new tensor could be an inference tensor under Lightning.
            self.z_eval.copy_(estimate)
            self._estimated_at = at
        return self.z_eval

    def expected_proposals(self) -> Tensor:
        """(1 - (1 - Z)^T) / Z of every group (G,): the mean number of proposals per draw."""
        z = self.normalizer.double()
        return -torch.expm1(self.truncation * torch.log1p(-z)) / z

    def _log_prob(self, z: Tensor) -> Tensor:
        dtype = torch.promote_types(z.dtype, torch.float32)
        # Half precision would lose the tails of the acceptance probability.
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
        """Not defined: an accepted draw is not a differentiable function of the parameters."""
        raise NotImplementedError(
            "ResampledBase has no reparametrised draws: acceptance is not differentiable in the "
            "parameters; use sample, or the score-function gradient of "
            "flowkernels.experiments.training.reverse_kl"
        )

    @torch.no_grad()
    def sample(
        self, sample_shape: int | Sequence[int] = (), context: Tensor | None = None
    ) -> Tensor:
        """Draws (*sample_shape, d), or (n, d) for a number n, from torch's default generator."""
        self._check_context(context)
        shape = as_shape(sample_shape)
        e, _ = self.draw(shape.numel())
        z = self.loc + torch.exp(self.log_scale) * e
        return z.reshape(*shape, self.dim).to(self.loc.dtype)

    @torch.no_grad()
    def draw(self, count: int) -> tuple[Tensor, Tensor]:
        """Accepted e (count, d), and the number of proposals (count, G) that each group used.

        A round draws k proposals for every group of every unfinished row and takes the first
        accepted one. k grows as rows finish, so T = 100 needs a handful of rounds. Counting the
        unfinished rows on a GPU would need a host synchronization; with T finite, every row there
        draws all T proposals instead.
        """
        size = self.dim // self.groups
        out = self.loc.new_empty(self.groups, count, size, dtype=self._compute_dtype)
        taken = torch.zeros(self.groups, count, dtype=torch.long, device=self.loc.device)
        if not readable_without_sync(taken) and not math.isinf(self.truncation):
            return self._draw_without_sync(count)
        seen = 0
        while most := int((taken == 0).sum(1).max()) if count else 0:
            if math.isinf(self.truncation) and seen >= _MAX_PROPOSALS:
                raise RuntimeError(
                    f"ResampledBase: a draw was rejected {seen} times; choose a finite truncation"
                )
            # Unfinished rows first; groups with fewer of them are padded with finished rows.
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

    def _draw_without_sync(self, count: int) -> tuple[Tensor, Tensor]:
        """`draw` with all T proposals for every row, block by block."""
        size, last = self.dim // self.groups, int(self.truncation)
        out = self.loc.new_zeros(self.groups, count, size, dtype=self._compute_dtype)
        taken = torch.zeros(self.groups, count, dtype=torch.long, device=self.loc.device)
        widest = max(size, *(w.shape[-1] for w in self.acceptance.weights))
        block = max(1, _BLOCK_WITHOUT_SYNC // max(1, self.groups * count * widest))
        for seen in range(0, last, block):
            k = min(block, last - seen)
            chosen, first, any_ = self._propose(count, k, final=seen + k == last)
            settles = any_ & (taken == 0)
            out = torch.where(settles.unsqueeze(-1), chosen, out)
            taken = torch.where(settles, seen + 1 + first, taken)
        return out.transpose(0, 1).reshape(count, self.dim), taken.T

    def _propose(self, rows: int, k: int, final: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The first accepted of k proposals per row and group, its index, and whether one was.

        Shapes (G, rows, s), (G, rows) and (G, rows). With `final` the last proposal is always
        accepted.
        """
        size = self.dim // self.groups
        options: dict[str, Any] = {"dtype": self._compute_dtype, "device": self.loc.device}
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
    def _compute_dtype(self) -> torch.dtype:
        return torch.promote_types(self.loc.dtype, torch.float32)

    def train(self, mode: bool = True) -> ResampledBase:
        """As ``nn.Module.train``; also discards the cached Z of evaluation mode."""
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
        # Drawn on the CPU so that every device sees the same proposals.
        generator = torch.Generator().manual_seed(_EVALUATION_SEED)
        size = self.dim // self.groups
        total = torch.zeros(self.groups, dtype=torch.float64, device=self.loc.device)
        step = max(1, 4 * _BLOCK // self.dim)
        with full_precision(self.loc):
            for start in range(0, self.num_eval_samples, step):
                rows = min(step, self.num_eval_samples - start)
                e = torch.randn(rows, self.groups, size, generator=generator, dtype=torch.float32)
                logits = self.acceptance(e.to(self.loc.device, self._compute_dtype))
                total += logits.sigmoid().sum(0, dtype=torch.float64)
        return total / self.num_eval_samples

    def _weights_version(self) -> tuple[int, ...]:
        """A key that changes with every in-place change of the networks' weights."""
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

    (1 - al) / Z lies between 1 and T - 1 for every Z. Clamping Z away from 0 and 1 by less than
    a rounding error keeps the ratio and its gradient finite.
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


def _check(owner: str, dim: int, groups: int, truncation: float, ema: float) -> None:
    if dim % arguments.integer(owner, "groups", groups):
        raise ValueError(f"{owner}: groups must divide dim = {dim}, got {groups}")
    t = arguments.number(owner, "truncation", truncation)
    if not (t >= 2 and (math.isinf(t) or t == int(t))):
        raise ValueError(
            f"{owner}: truncation must be a whole number from 2 or inf, got {truncation}"
        )
    if not 0 < arguments.number(owner, "ema", ema) <= 1:
        raise ValueError(f"{owner}: ema must be in (0, 1], got {ema}")
