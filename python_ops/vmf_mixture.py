"""Mixtures of von Mises-Fisher distributions: density, responsibilities, and the E-step of EM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._declaration import Inputs, declare, public
from ._errors import flag
from ._fake import require, require_precision, require_shape
from ._vmap import looping_vmap
from .composite import vmf_mixture as formulas


def _check(x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor) -> None:
    require(
        x.ndim > 0 and x.shape[-1] >= 2,
        f"`x` must have shape (*batch, p) with p >= 2, got {tuple(x.shape)}",
    )
    require(
        locs.ndim == 2 and locs.shape[0] >= 1 and locs.shape[1] == x.shape[-1],
        f"`locs` must have shape (components, {x.shape[-1]}) for `x` of shape {tuple(x.shape)}, "
        f"got {tuple(locs.shape)}",
    )
    require_precision("locs", locs, x, "x")
    for name, each in (("concentrations", concentrations), ("log_weights", log_weights)):
        require_precision(name, each, x, "x")
        require(
            each.ndim == 1 and each.shape[0] == locs.shape[0],
            f"`{name}` must have shape ({locs.shape[0]},), a number for each row of `locs`, got "
            f"{tuple(each.shape)}",
        )


def _fake_log_prob(
    x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor, responsibilities: bool
) -> tuple[Tensor, Tensor]:
    _check(x, locs, concentrations, log_weights)
    wide = torch.promote_types(x.dtype, torch.float32)
    batch = x.shape[:-1]
    components = locs.shape[0] if responsibilities else 0
    return x.new_empty(batch, dtype=wide), x.new_empty((*batch, components), dtype=wide)


def _fake_statistics(
    x: Tensor, locs: Tensor, concentrations: Tensor, log_weights: Tensor, sample_weights: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check(x, locs, concentrations, log_weights)
    require_precision("sample_weights", sample_weights, x, "x")
    require_shape("sample_weights", sample_weights, x.shape[:-1], "the batch of `x`")
    return (
        x.new_empty(x.shape[:-1], dtype=torch.promote_types(x.dtype, torch.float32)),
        x.new_empty(locs.shape[:1], dtype=torch.float64),
        x.new_empty(locs.shape, dtype=torch.float64),
    )


def _points_vmap(op: Any) -> Callable[..., Any]:
    """The vmap rule of the density: points may have any batch; else one call after the other."""
    loop = looping_vmap(op)
    if op.name().endswith("_backward"):
        return loop

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        of_x, *others = in_dims
        if of_x is None or any(d is not None for d in others):
            return loop(info, in_dims, *args)
        return op(args[0].movedim(of_x, 0), *args[1:]), (0, 0)

    return rule


_vmf_mixture_log_prob = declare(
    "vmf_mixture_log_prob",
    formula=formulas.vmf_mixture_log_prob,
    backward_formula=formulas.vmf_mixture_log_prob_backward,
    fake=_fake_log_prob,
    vmap=_points_vmap,
    whole=True,
)
_vmf_mixture_statistics = declare(
    "vmf_mixture_statistics",
    formula=formulas.vmf_mixture_statistics,
    backward_formula=formulas.vmf_mixture_statistics_backward,
    fake=_fake_statistics,
    vmap=looping_vmap,
    whole=True,
)


def _mixture(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Points in R^(n + 1) for rows of n, and the parameters of five components."""
    components, dim = 5, size[-1] + 1

    def unit(*shape: int) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(shape, dtype=torch.float64), dim=-1)

    concentrations = dim * (0.3 + torch.rand(components, dtype=torch.float64))
    log_weights = torch.randn(components, dtype=torch.float64).log_softmax(0)
    return unit(*size[:-1], dim), unit(components, dim), concentrations, log_weights


def _weighted(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    """The same, and a weight for each point."""
    return *_mixture(size), torch.rand(size[:-1], dtype=torch.float64)


@public(
    "vmf_mixture_log_prob",
    usage="vmf_mixture_log_prob(x, locs, kappas, log_weights)",
    same=(
        "`z = log_weights + vmf_log_normalizer(kappas, dim) + kappas * (x @ locs.T)`, then "
        "`z.logsumexp(-1), z.log_softmax(-1)`"
    ),
    inputs=Inputs(tensors=_mixture, dtypes=("float32",)),
)
def vmf_mixture_log_prob(
    x: Tensor,
    locs: Tensor,
    concentrations: Tensor,
    log_weights: Tensor,
    *,
    responsibilities: bool = True,
) -> tuple[Tensor, Tensor]:
    r"""Log density of a mixture of von Mises-Fisher distributions, and the responsibilities.

    .. math:: \log p(x) = \log \sum_k w_k C_p(\kappa_k)\, e^{\kappa_k\, \mu_k \cdot x}, \qquad
        \log r_k(x) = \log w_k + \log C_p(\kappa_k) + \kappa_k\, \mu_k \cdot x - \log p(x)

    Points are taken in blocks; without responsibilities no tensor of size (points, components) is
    in memory, neither forward nor backward. In float32 the result has an error of about
    :math:`\kappa \cdot 10^{-7}`, that of the product.

    Args:
        x: unit vectors (\*batch, p), p >= 2, float16, bfloat16, float32 or float64.
        locs: mean directions of the components, unit vectors (components, p).
        concentrations: kappa >= 0, (components,).
        log_weights: log w (components,), -inf for a component without weight; of a density the
            weights add up to 1, which is not checked.
        responsibilities: whether the second result is made; without, its shape is (\*batch, 0).

    Returns:
        log density (\*batch) in nats with respect to the surface measure of the sphere, and log
        responsibilities (\*batch, components); at least float32. Differentiable in all tensors.

    Raises:
        ValueError: for shapes that do not fit, or a negative concentration.
        TypeError: for dtypes that are not floating or do not go together.

    Source: Banerjee et al., Clustering on the Unit Hypersphere using von Mises-Fisher
    Distributions, JMLR 6 (2005), section 3.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> locs = torch.eye(3)[:2]
        >>> log_weights = torch.tensor([0.5, 0.5]).log()
        >>> log_prob, log_r = ops.vmf_mixture_log_prob(
        ...     torch.eye(3)[0], locs, torch.tensor([10.0, 10.0]), log_weights
        ... )
        >>> log_prob, log_r.exp()
        (tensor(-0.2284), tensor([9.9995e-01, 4.5398e-05]))
    """
    flag("vmf_mixture_log_prob", "responsibilities", responsibilities)
    out: tuple[Tensor, Tensor] = _vmf_mixture_log_prob(
        x, locs, concentrations, log_weights, responsibilities
    )
    return out


@public(
    "vmf_mixture_statistics",
    usage="vmf_mixture_statistics(x, locs, kappas, log_weights, sample_weights)",
    same=(
        "`log_p, log_r = vmf_mixture_log_prob(x, locs, kappas, log_weights); "
        "r = sample_weights[:, None] * log_r.exp()`, then `log_p, r.sum(0), r.T @ x`"
    ),
    inputs=Inputs(tensors=_weighted, dtypes=("float32",)),
)
def vmf_mixture_statistics(
    x: Tensor,
    locs: Tensor,
    concentrations: Tensor,
    log_weights: Tensor,
    sample_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The E-step of a mixture of von Mises-Fisher distributions, in one pass over the points.

    .. math:: \log p(x_n), \qquad N_k = \sum_n s_n\, r_k(x_n), \qquad
        S_k = \sum_n s_n\, r_k(x_n)\, x_n

    with the responsibilities r of `vmf_mixture_log_prob`, which are never in memory as a whole.
    The M-step follows: weights N / sum(N), mean directions S / \|S\|, concentrations
    ``vmf_concentration(|S| / N, p)``.

    Args:
        x, locs, concentrations, log_weights: as for `vmf_mixture_log_prob`.
        sample_weights: s, (\*batch); 1 when left out.

    Returns:
        log density (\*batch), at least float32; N (components,) and S (components, p), which are
        float64 whatever the dtype of `x`: products are added up in that dtype over some thousand
        points at most. Differentiable in all tensors; the responsibilities are not in memory in
        the backward either.

    Raises:
        ValueError, TypeError: as `vmf_mixture_log_prob`.

    Source: Banerjee et al., JMLR 6 (2005), section 3.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> x = torch.eye(3)
        >>> log_prob, counts, sums = ops.vmf_mixture_statistics(
        ...     x, x[:2], torch.tensor([9.0, 9.0]), torch.tensor([0.5, 0.5]).log()
        ... )
        >>> counts  # the third point is as far from one as from the other
        tensor([1.5000, 1.5000], dtype=torch.float64)
        >>> (sums / counts[:, None]).norm(dim=-1)
        tensor([0.7453, 0.7453], dtype=torch.float64)
    """
    if sample_weights is None and isinstance(x, Tensor):
        sample_weights = x.new_ones(x.shape[:-1])
    out: tuple[Tensor, Tensor, Tensor] = _vmf_mixture_statistics(
        x, locs, concentrations, log_weights, sample_weights
    )
    return out
