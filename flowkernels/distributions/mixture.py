"""Mixtures of von Mises-Fisher distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints

from .. import arguments, ops
from .checked import CheckedDistribution, check_tensor, tensor_or_number
from .constraints import checked_if_known, real_vector, unit_sphere
from .von_mises_fisher import VonMisesFisher

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MixtureOfVonMisesFisher"]


class MixtureOfVonMisesFisher(CheckedDistribution):
    r"""Mixture of K von Mises-Fisher distributions on S^(p-1).

    log p(x) = log sum_k w_k C_p(kappa_k) e^(kappa_k loc_k.x) with respect to the surface measure,
    in nats, w = softmax(logits). As torch's MixtureSameFamily of
    VonMisesFisher(loc, concentration), but without a batch one fused op,
    `ops.vmf_mixture_log_prob`, computes the density and the responsibilities, and draws can be
    reparametrised.

    Args:
        logits: (*batch, K), K >= 1, of any floating dtype: log weights up to a constant, kept
            normalised; -inf is a weight of 0.
        loc: mean directions, unit vectors (*batch, K, p), p >= 2, of the same dtype.
        concentration: kappa >= 0, a number or a tensor (*batch, K).
        validate_args: as everywhere in torch.distributions.

    The batches broadcast; K and p do not.

    Raises:
        TypeError: `logits` or `loc` is not a floating-point tensor, or their dtypes or devices
            differ.
        ValueError: shapes do not fit; with `validate_args`, as :class:`VonMisesFisher`, or a NaN
            among the logits.

    Source: Banerjee et al., Clustering on the unit hypersphere using von Mises-Fisher
    distributions, JMLR 6 (2005), section 3.

    Example:
        >>> law = MixtureOfVonMisesFisher(torch.zeros(2), torch.eye(2, 3), 10.0)
        >>> x = law.sample((5,))
        >>> law.log_prob(x).shape, law.log_responsibilities(x).shape
        (torch.Size([5]), torch.Size([5, 2]))
        >>> law.mean, law.posterior(torch.eye(2, 3)).probs.argmax(-1)
        (tensor([0.4500, 0.4500, 0.0000]), tensor([0, 1]))
    """

    arg_constraints = {
        "logits": real_vector,
        "loc": unit_sphere,
        "concentration": constraints.nonnegative,
    }
    support = unit_sphere
    logits: Tensor
    loc: Tensor
    concentration: Tensor

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        concentration: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        logits, loc, concentration = _checked(type(self).__name__, logits, loc, concentration)
        validate_args = checked_if_known(validate_args, logits, loc, concentration)
        batch_shape = torch.broadcast_shapes(
            logits.shape[:-1], loc.shape[:-2], concentration.shape[:-1]
        )
        k, p = loc.shape[-2:]
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        self.logits = wide.log_softmax(-1).to(logits.dtype).expand((*batch_shape, k))
        self.loc = loc.expand((*batch_shape, k, p))
        self.concentration = concentration.expand((*batch_shape, k))
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether draws have all gradients: unless the logits require one."""
        return not self.logits.requires_grad

    @property
    def mixture_distribution(self) -> Categorical:
        """The distribution of the component."""
        return Categorical(logits=self._wide_logits, validate_args=False)

    @property
    def component_distribution(self) -> VonMisesFisher:
        """The components, with the batch shape (*batch, K)."""
        return VonMisesFisher(self.loc, self.concentration, validate_args=False)

    def sample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws (*sample_shape, *batch, p)."""
        with torch.no_grad():
            return self._drawn(sample_shape)

    def rsample(self, sample_shape: Any = torch.Size()) -> Tensor:
        """Draws (*sample_shape, *batch, p), with unbiased gradients in `loc` and `concentration`.

        Given the component a draw is that of :meth:`VonMisesFisher.rsample`. The component is
        discrete and has no pathwise gradient in the logits.

        Raises:
            NotImplementedError: the logits require a gradient.
        """
        if torch.is_grad_enabled() and not self.has_rsample:
            raise NotImplementedError(
                f"{type(self).__name__}: rsample has no gradient in logits; detach them, or use "
                "sample() and the gradient of log_prob"
            )
        return self._drawn(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density in nats at unit vectors (*, p), at least float32."""
        self._check_value(value)
        return _densities(value, self.loc, self.concentration, self.logits, False)[0]

    def log_responsibilities(self, value: Tensor) -> Tensor:
        """Log probabilities (*, K) of the components given unit vectors (*, p)."""
        self._check_value(value)
        return _densities(value, self.loc, self.concentration, self.logits, True)[1]

    def posterior(self, value: Tensor) -> Categorical:
        """The distribution of the component given unit vectors (*, p)."""
        return Categorical(logits=self.log_responsibilities(value), validate_args=False)

    @property
    def mean(self) -> Tensor:
        weight = self._wide_logits.exp().unsqueeze(-1)
        return (weight * self.component_distribution.mean).sum(-2).to(self.loc.dtype)

    @property
    def variance(self) -> Tensor:
        """The variance of each coordinate: within the components and between their means."""
        weight, each = self._wide_logits.exp().unsqueeze(-1), self.component_distribution
        apart = (each.mean - self.mean.unsqueeze(-2)).square()
        return (weight * (each.variance + apart)).sum(-2).to(self.loc.dtype)

    def entropy(self) -> Tensor:
        """Has no closed form: raises NotImplementedError."""
        raise NotImplementedError(
            f"{type(self).__name__}: the entropy is an integral over the whole sphere; estimate "
            "it: -law.log_prob(law.sample((n,))).mean(0)"
        )

    def expand(self, batch_shape: Any, _instance: Any = None) -> Self:
        new = self._get_checked_instance(type(self), _instance)  # type: ignore[no-untyped-call]
        name = type(self).__name__
        batch_shape = arguments.shape(name, "batch_shape", batch_shape)
        k, p = self.loc.shape[-2:]
        try:
            new.loc = self.loc.expand((*batch_shape, k, p))
        except RuntimeError:
            raise ValueError(
                f"{name}: batch_shape must be an expansion of {tuple(self.batch_shape)}, got "
                f"{tuple(batch_shape)}"
            ) from None
        new.logits = self.logits.expand((*batch_shape, k))
        new.concentration = self.concentration.expand((*batch_shape, k))
        Distribution.__init__(new, batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        expanded: Self = new
        return expanded

    @property
    def _wide_logits(self) -> Tensor:
        return self.logits.to(torch.promote_types(self.logits.dtype, torch.float32))

    def _drawn(self, sample_shape: Any) -> Tensor:
        shape = arguments.shape(type(self).__name__, "sample_shape", sample_shape)
        k, p = self.loc.shape[-2:]
        batch, count = self.batch_shape.numel(), shape.numel()
        weight = self._wide_logits.detach().exp().reshape(batch, k)
        if batch * count:
            component = torch.multinomial(weight, count, replacement=True).T
        else:  # which multinomial refuses
            component = weight.new_zeros((count, batch), dtype=torch.long)
        # Rows of the flattened parameters: the gradient of a gather would be as large as K draws.
        row = component + k * torch.arange(batch, device=component.device)
        row = row.reshape((*shape, *self.batch_shape))
        loc = self.loc.reshape(batch * k, p)[row]
        return ops.vmf_sample(loc, self.concentration.reshape(batch * k)[row], ())


def _checked(name: str, logits: Any, loc: Any, concentration: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The three tensors, of shapes that fit."""
    check_tensor(name, "logits", logits)
    check_tensor(name, "loc", loc)
    if logits.ndim < 1 or logits.shape[-1] < 1:
        raise ValueError(
            f"{name}: logits must be (*batch, K) with K >= 1, got shape {tuple(logits.shape)}"
        )
    k = logits.shape[-1]
    if loc.ndim < 2 or loc.shape[-2] != k or loc.shape[-1] < 2:
        raise ValueError(
            f"{name}: loc must be (*batch, {k}, p) with p >= 2, as logits have {k} components, got "
            f"shape {tuple(loc.shape)}"
        )
    for what in ("dtype", "device"):
        if getattr(logits, what) != getattr(loc, what):
            raise TypeError(
                f"{name}: logits must have the {what} of loc, {getattr(loc, what)}, got "
                f"{getattr(logits, what)}"
            )
    number = tensor_or_number(name, "concentration", concentration, loc)
    if number.ndim == 0:
        number = number.expand(k)
    if number.shape[-1] != k:
        raise ValueError(
            f"{name}: concentration must be a number or (*batch, {k}), got shape "
            f"{tuple(number.shape)}"
        )
    try:
        torch.broadcast_shapes(logits.shape[:-1], loc.shape[:-2], number.shape[:-1])
    except RuntimeError:
        raise ValueError(
            f"{name}: the batches of logits, loc and concentration must broadcast, got shapes "
            f"{tuple(logits.shape)}, {tuple(loc.shape)} and {tuple(number.shape)}"
        ) from None
    return logits, loc, number


def _densities(
    x: Tensor, loc: Tensor, concentration: Tensor, logits: Tensor, responsibilities: bool
) -> tuple[Tensor, Tensor]:
    """Log density (*batch) and, if asked for, log responsibilities (*batch, K)."""
    if loc.ndim == 2:
        return ops.vmf_mixture_log_prob(
            x, loc, concentration, logits, responsibilities=responsibilities
        )
    each = ops.vmf_log_prob(x.unsqueeze(-2), loc, concentration) + logits
    log_prob = each.logsumexp(-1)
    return log_prob, each - log_prob.unsqueeze(-1)
