"""The E and M steps of mixtures of von Mises-Fisher distributions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from flowkernels import ops
from flowkernels.distributions.von_mises_fisher_fit import concentration_of

from ._fitting import Evaluation
from ._group import Group
from ._sources import Source
from ._statistics import assignments, hard_statistics

__all__ = ["Components", "Mixture", "largest_concentration"]

# The smallest 1 - r that rows rounded to a dtype tell from 0, in units of its last place.
RESOLVED = 16


def largest_concentration(dim: int, dtype: torch.dtype) -> float:
    r"""The bound on kappa: A_p(kappa) = 1 - 16 eps, about (p - 1) / (32 eps).

    Rows of this dtype have lengths within a few eps of 1: a resultant nearer to 1 is rounding.
    """
    complement = torch.tensor(RESOLVED * torch.finfo(dtype).eps, dtype=torch.float64)
    return float(ops.vmf_concentration(complement, dim, complement=True))


@dataclass(frozen=True)
class Components:
    """Directions (K, p), concentrations (K,) and log weights (K,), in float64."""

    locs: Tensor
    concentrations: Tensor
    log_weights: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """The three as the statistics take them."""
        locs, concentrations, log_weights = (
            each.to(device=device, dtype=dtype)
            for each in (self.locs, self.concentrations, self.log_weights)
        )
        return locs, concentrations, log_weights


@dataclass(frozen=True)
class Mixture:
    """EM for the mixture.

    Attributes:
        hard: assign each point to its most probable component alone.
        tied: one concentration for all components.
        fixed: the concentration, where it is not estimated.
        prior: points without direction that are added to each component's estimate of kappa.
        tol: the gain of the objective, in nats per unit of weight, at which the fit ends.
        dtype: the dtype of the points, which bounds the concentrations.
    """

    hard: bool
    tied: bool
    fixed: float | None
    prior: float
    tol: float
    dtype: torch.dtype

    def start(self, locs: Tensor, source: Source, group: Group) -> Components:
        """The first components: each direction's nearest points, with one concentration for all."""
        k = len(locs)
        counts, sums = _empty(locs)
        for x, weights in source.blocks():
            _, labels = assignments(x, locs.to(x.dtype), None, None)
            n, s = hard_statistics(x, labels, k, weights)
            counts += n
            sums += s
        group.sum(counts, sums)
        state = Components(locs, locs.new_zeros(k), locs.new_zeros(k))
        found = Evaluation(0.0, counts, sums, float(counts.sum()))
        return replace(self, tied=True).update(state, found, source, group)

    def evaluate(self, state: Components, source: Source, group: Group) -> Evaluation:
        """The E step."""
        counts, sums = _empty(state.locs)
        objective = counts.new_zeros(())
        device, dtype = source.kind.device, source.kind.dtype
        locs, concentrations, log_weights = state.to(device, dtype)
        for x, weights in source.blocks():
            if self.hard:
                log_prob, labels = assignments(x, locs, concentrations, log_weights)
                n, s = hard_statistics(x, labels, len(locs), weights)
            else:
                log_prob, n, s = ops.vmf_mixture_statistics(
                    x, locs, concentrations, log_weights, weights
                )
            counts += n
            sums += s
            objective += weighted_sum(log_prob, weights)
        group.sum(counts, sums, objective)
        total = counts.sum()
        objective += self._log_prior(state)
        return Evaluation(float(objective / total), counts, sums, float(total))

    def _log_prior(self, state: Components) -> Tensor:
        """prior * sum_k [log C_p(kappa_k) - log C_p(0)]."""
        if not self.prior or self.fixed is not None:
            return state.concentrations.new_zeros(())
        kappa = state.concentrations[:1] if self.tied else state.concentrations
        dim = state.locs.shape[1]
        return self.prior * ops.vmf_log_normalizer(kappa, dim, relative=True).sum()

    def update(
        self, state: Components, found: Evaluation, source: Source | None, group: Group
    ) -> Components:
        """The M step: the components of largest likelihood for these counts and sums.

        A component without points keeps its direction and concentration, at weight 0.

        Source: Banerjee et al., JMLR 6 (2005), eq. 3.1-3.3, with the exact inverse of A_p.
        """
        counts, sums = found.counts, found.sums
        lengths = torch.linalg.vector_norm(sums, dim=1)
        there = lengths > 0
        locs = torch.where(there[:, None], sums / lengths.clamp(min=1e-300)[:, None], state.locs)
        log_weights = (counts / counts.sum()).log()
        if self.fixed is not None:
            kappa = torch.full_like(counts, self.fixed)
        else:
            n, s = (counts.sum(), lengths.sum()) if self.tied else (counts, lengths)
            n = n + self.prior
            kappa = _concentration(n, s, locs.shape[1])
            kappa = kappa.clamp(max=largest_concentration(locs.shape[1], self.dtype))
            kappa = torch.where(n > 0, kappa, state.concentrations)
        return Components(locs, kappa.expand_as(counts).clone(), log_weights)

    def settled(self, old: float, new: float) -> bool:
        """Whether the gain is below the tolerance."""
        return new - old < self.tol


def _concentration(counts: Tensor, lengths: Tensor, dim: int) -> Tensor:
    """kappa with A_p(kappa) = length / count."""
    counts = torch.where(counts > 0, counts, 1.0)
    r = (lengths / counts).clamp(0, 1)
    return concentration_of(r, ((counts - lengths) / counts).clamp(0, 1), dim)


def weighted_sum(values: Tensor, weights: Tensor | None) -> Tensor:
    """sum_n s_n v_n in float64; a point of weight 0 adds nothing."""
    if weights is None:
        return values.sum(dtype=torch.float64)
    return (values.double() * weights).sum()


def _empty(locs: Tensor) -> tuple[Tensor, Tensor]:
    return locs.new_zeros(locs.shape[0], dtype=torch.float64), torch.zeros_like(
        locs, dtype=torch.float64
    )
