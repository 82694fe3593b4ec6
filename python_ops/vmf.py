"""The von Mises-Fisher distribution on the sphere S^(p-1) of R^p, p = `dim`."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ._broadcast import numbers
from ._declaration import Inputs, declare, public
from ._errors import SUPPORTED, flag
from ._fake import require, require_precision
from ._vmap import batched_first
from .bessel import DIM, LARGE_ORDER, bessel, kappas
from .composite import vmf as formulas

_KAPPAS = Inputs(tensors=kappas, options=lambda size: {"dim": DIM}, sizes="elements")


def _radial(op: str, argument: str, value: Tensor | float, dim: int, function: str) -> Tensor:
    """A function of the concentration (or of its inverse's argument) alone."""
    if not isinstance(value, Tensor):
        value = numbers(op, argument, value)
    return bessel(value, checked_dim(op, dim) / 2 - 1, function)


def checked_dim(op: str, dim: int) -> int:
    """The dimension as a number >= 2, or an error that names it."""
    try:
        number = operator.index(dim)
    except TypeError:
        raise TypeError(f"{op}: `dim` must be an integer, got {type(dim).__name__}") from None
    if isinstance(dim, bool) or not 2 <= number <= LARGE_ORDER:
        raise ValueError(
            f"{op}: `dim` must be >= 2 (the sphere lies in R^dim) and at most 2^50, got {dim}"
        )
    return number


@public(
    "bessel",
    usage="vmf_log_normalizer(kappa, dim)",
    same="`v = dim / 2 - 1; v * log(kappa) - (dim / 2) * log(2 pi) - log_iv(v, kappa)`",
    inputs=replace(_KAPPAS, dtypes=("float32", "float64")),
)
def vmf_log_normalizer(kappa: Tensor | float, dim: int, relative: bool = False) -> Tensor:
    r"""Log of the normaliser of the von Mises-Fisher density on S^(p-1).

    .. math:: \log C_p(\kappa) = (p/2 - 1) \log\kappa - (p/2) \log 2\pi
        - \log I_{p/2-1}(\kappa)

    Args:
        kappa: concentration >= 0, float16, bfloat16, float32 or float64, any shape, or a
            number (float64).
        dim: p >= 2, the dimension of the space that holds the sphere.
        relative: return :math:`\log C_p(\kappa) - \log C_p(0)` instead, which keeps its
            full relative accuracy where :math:`\kappa` is small.

    Returns:
        In nats, with the shape of `kappa`, at least float32; differentiable:
        the gradient is :math:`-A_p(\kappa)`.

    Raises:
        ValueError: for `dim` < 2 or a negative concentration.
        TypeError: for a `kappa` that is not floating or a `dim` that is not an integer.

    Source: Mardia & Jupp, Directional Statistics (2000), 9.3.4; NIST DLMF 10.25, 10.41.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> ops.vmf_log_normalizer(torch.tensor([0.0, 1.0, 785.0]), 785)
        tensor([1499.6538, 1499.6532, 1203.2939])
    """
    name = (
        "vmf_log_normalizer_relative"
        if flag("vmf_log_normalizer", "relative", relative)
        else "vmf_log_normalizer"
    )
    return _radial("vmf_log_normalizer", "kappa", kappa, dim, name)


@public(
    "bessel",
    usage="vmf_log_peak(kappa, dim)",
    same="`vmf_log_normalizer(kappa, dim) + kappa`",
    inputs=_KAPPAS,
)
def vmf_log_peak(kappa: Tensor | float, dim: int) -> Tensor:
    r"""Log density of the von Mises-Fisher distribution at its mode.

    .. math:: \log C_p(\kappa) + \kappa

    without the cancellation of the sum at large concentrations: the stable form of the
    log density is :math:`\log p(x) = \text{peak} - \kappa |x - \mu|^2 / 2`.

    Args:
        kappa: concentration >= 0, as for `vmf_log_normalizer`.
        dim: p >= 2.

    Returns:
        In nats, with the shape of `kappa`, at least float32; the gradient is
        :math:`1 - A_p(\kappa)`.

    Raises:
        ValueError, TypeError: as `vmf_log_normalizer`.

    Source: Mardia & Jupp (2000), 9.3.4.

    Example:
        >>> from flowkernels import ops
        >>> ops.vmf_log_peak(0.0, 3)  # -log(4 pi)
        tensor(-2.5310, dtype=torch.float64)
    """
    return _radial("vmf_log_peak", "kappa", kappa, dim, "vmf_log_peak")


@public(
    "bessel",
    usage="vmf_divergence(kappa, dim)",
    same="`kappa * vmf_mean_resultant(kappa, dim) + vmf_log_normalizer(kappa, dim, relative=True)`",
    inputs=_KAPPAS,
)
def vmf_divergence(kappa: Tensor | float, dim: int) -> Tensor:
    r"""Kullback-Leibler divergence of the von Mises-Fisher distribution from the uniform.

    .. math:: \kappa A_p(\kappa) + \log C_p(\kappa) - \log C_p(0)

    Args:
        kappa: concentration >= 0, as for `vmf_log_normalizer`.
        dim: p >= 2.

    Returns:
        In nats, >= 0, with the shape of `kappa`, at least float32, to full relative accuracy;
        the gradient is :math:`\kappa A_p'(\kappa)`.

    Raises:
        ValueError, TypeError: as `vmf_log_normalizer`.

    Source: Davidson et al., Hyperspherical Variational Auto-Encoders (arXiv 1804.00891), A.1.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> ops.vmf_divergence(torch.tensor([0.0, 1e-3, 10.0]), 3)
        tensor([0.0000e+00, 1.6667e-07, 1.9957e+00])
    """
    return _radial("vmf_divergence", "kappa", kappa, dim, "vmf_divergence")


@public(
    "bessel",
    usage="vmf_mean_resultant(kappa, dim)",
    same="`I_{dim/2}(kappa) / I_{dim/2-1}(kappa)`",
    inputs=replace(_KAPPAS, dtypes=("float32",)),
)
def vmf_mean_resultant(kappa: Tensor | float, dim: int, *, complement: bool = False) -> Tensor:
    r"""Mean resultant length of the von Mises-Fisher distribution.

    .. math:: A_p(\kappa) = I_{p/2}(\kappa) / I_{p/2-1}(\kappa) = E[\mu \cdot x]

    Args:
        kappa: concentration >= 0, as for `vmf_log_normalizer`.
        dim: p >= 2.
        complement: return :math:`1 - A_p(\kappa)`, accurate where it is small.

    Returns:
        In [0, 1], with the shape of `kappa`, at least float32; twice differentiable.

    Raises:
        ValueError, TypeError: as `vmf_log_normalizer`.

    Source: Mardia & Jupp (2000), 9.3.8.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> ops.vmf_mean_resultant(torch.tensor([0.0, 785.0, 1e6]), 785)
        tensor([0.0000, 0.6182, 0.9996])
    """
    name = (
        "vmf_mean_resultant_complement"
        if flag("vmf_mean_resultant", "complement", complement)
        else "vmf_mean_resultant"
    )
    return _radial("vmf_mean_resultant", "kappa", kappa, dim, name)


@public(
    "bessel",
    usage="vmf_concentration(r, dim)",
    same="the `kappa` with `vmf_mean_resultant(kappa, dim) == r`",
    inputs=replace(_KAPPAS, tensors=lambda size: (torch.rand(size, dtype=torch.float64) / 2,)),
)
def vmf_concentration(r: Tensor | float, dim: int, *, complement: bool = False) -> Tensor:
    r"""The concentration of given mean resultant length, the inverse of `vmf_mean_resultant`.

    Maximum likelihood: the mean of unit vectors has length r and direction loc.

    Args:
        r: mean resultant length in [0, 1], float16, bfloat16, float32 or float64, or a
            number (float64).
        dim: p >= 2.
        complement: `r` is 1 minus the mean resultant length. Use it for lengths near 1, whose
            rounding changes kappa by a factor of about 1 + eps / (1 - r).

    Returns:
        kappa >= 0 with the shape of `r`, at least float32; infinity at r = 1;
        differentiable.

    Raises:
        ValueError: for `dim` < 2 or values outside [0, 1].
        TypeError: as `vmf_log_normalizer`.

    Source: start of Banerjee et al., JMLR 6 (2005), eq. 4.4; Newton's steps from there.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> r = ops.vmf_mean_resultant(torch.tensor([1.0, 785.0], dtype=torch.float64), 785)
        >>> ops.vmf_concentration(r, 785)
        tensor([  1., 785.], dtype=torch.float64)
    """
    name = (
        "vmf_concentration_complement"
        if flag("vmf_concentration", "complement", complement)
        else "vmf_concentration"
    )
    return _radial("vmf_concentration", "r", r, dim, name)


# ---- densities ---------------------------------------------------------------------


def _fake_of(point: str, extra: int) -> Callable[..., Tensor]:
    """The fake of a density of the argument `point`, in R^(p - extra), with `loc` in R^p."""

    def fake(x: Tensor, loc: Tensor, concentration: Tensor, grad_loc: bool) -> Tensor:
        for name, tensor in (("loc", loc), ("concentration", concentration)):
            require_precision(name, tensor, x, point)
        wanted = "d) with d >= 1" if extra else "p) with p >= 2"
        require(
            x.ndim > 0 and x.shape[-1] + extra >= 2,
            f"`{point}` must have shape (*batch, {wanted}, got {tuple(x.shape)}",
        )
        dim = x.shape[-1] + extra
        require(
            loc.ndim > 0 and loc.shape[-1] == dim,
            f"`loc` must have shape (*batch, {dim}) for `{point}` of shape {tuple(x.shape)}, got "
            f"{tuple(loc.shape)}",
        )
        shape = formulas.batch_of(x, loc, concentration)
        return x.new_empty(shape, dtype=torch.promote_types(x.dtype, torch.float32))

    return fake


def _aligned_vmap(op: Any) -> Callable[..., Any]:
    """The vmap rule of these ops, whose batches broadcast: ranks are evened out first."""
    event_ndims = [1, 1, 0]  # of x, loc and concentration
    backward = op.name().endswith("_backward")
    if backward:
        event_ndims.insert(0, 0)  # the cotangent
    n = len(event_ndims)

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        first = [
            batched_first(a, d, info.batch_size) for a, d in zip(args[:n], in_dims[:n], strict=True)
        ]
        rank = max(a.ndim - e for a, e in zip(first, event_ndims, strict=True))
        even = [
            a.reshape(a.shape[0], *[1] * (rank - a.ndim + e), *a.shape[1:])
            for a, e in zip(first, event_ndims, strict=True)
        ]
        out = op(*even, *args[n:])
        if not backward:
            return out, 0
        shaped = tuple(o.reshape(a.shape) for o, a in zip(out, first[1:], strict=True))
        return shaped, (0,) * len(shaped)

    return rule


_vmf_log_prob = declare(
    "vmf_log_prob",
    formula=formulas.vmf_log_prob,
    backward_formula=formulas.vmf_log_prob_backward,
    fake=_fake_of("x", 0),
    vmap=_aligned_vmap,
    whole=True,
)
_stereographic_vmf_log_prob = declare(
    "stereographic_vmf_log_prob",
    formula=formulas.stereographic_vmf_log_prob,
    backward_formula=formulas.stereographic_vmf_log_prob_backward,
    fake=_fake_of("z", 1),
    vmap=_aligned_vmap,
    whole=True,
)


def _unit(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(shape, dtype=torch.float64), dim=-1)


def _points(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    return _unit(*size), _unit(size[-1]), torch.tensor(float(size[-1]), dtype=torch.float64)


def _latents(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    d = size[-1]
    z = torch.randn(size, dtype=torch.float64) / d**0.5
    return z, _unit(d + 1), torch.tensor(float(d), dtype=torch.float64)


def _concentration(op: str, x: Any, concentration: Any) -> Tensor:
    if isinstance(concentration, Tensor):
        return concentration
    if not isinstance(x, Tensor) or x.dtype not in SUPPORTED:
        return torch.tensor(0.0)  # the op itself says what is wrong with x
    return numbers(op, "concentration", concentration, x.dtype, x.device)


@public(
    "vmf_log_prob",
    usage="vmf_log_prob(x, loc, kappa)",
    same="`vmf_log_normalizer(kappa, dim) + kappa * (x * loc).sum(-1)`",
    inputs=Inputs(tensors=_points, dtypes=("float32",)),
)
def vmf_log_prob(x: Tensor, loc: Tensor, concentration: Tensor | float) -> Tensor:
    r"""Log density of the von Mises-Fisher distribution on S^(p-1).

    .. math:: \log p(x) = \log C_p(\kappa) + \kappa\, \mu \cdot x
        = \log C_p(\kappa) + \kappa - \kappa |x - \mu|^2 / 2

    evaluated in the second form, which loses no digits near the mode; `x` and `loc` are
    taken to be of unit length, and gradients are those of this form in the space R^p.

    Args:
        x: points (\*batch, p), float16, bfloat16, float32 or float64.
        loc: mean directions (\*batch, p).
        concentration: kappa >= 0, (\*batch) or a number; batches broadcast.

    Returns:
        log density (\*batch) in nats with respect to the surface measure of the sphere, at
        least float32.

    Raises:
        ValueError: for shapes that do not fit, p < 2 or a negative concentration.
        TypeError: for dtypes that are not floating or do not go together.

    Source: Mardia & Jupp, Directional Statistics (2000), 9.3.4.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> loc = torch.tensor([0.0, 0.0, 1.0])
        >>> ops.vmf_log_prob(torch.eye(3), loc, 2.0)
        tensor([-3.1262, -3.1262, -1.1262])
    """
    concentration = _concentration("vmf_log_prob", x, concentration)
    out: Tensor = _vmf_log_prob(x, loc, concentration, True)
    return out


@public(
    "stereographic_vmf_log_prob",
    usage="stereographic_vmf_log_prob(z, loc, kappa)",
    same="`s, log_det = stereographic(z); vmf_log_prob(s, loc, kappa) + log_det`",
    inputs=Inputs(tensors=_latents, dtypes=("float32",)),
)
def stereographic_vmf_log_prob(z: Tensor, loc: Tensor, concentration: Tensor | float) -> Tensor:
    r"""Log density on R^d of a point whose stereographic projection is von Mises-Fisher.

    .. math:: \log p(z) = \log C_{d+1}(\kappa) + \kappa\, \mu \cdot \psi(z) + d \log\rho,
        \qquad \psi(z) = [z\rho, 1 - \rho],\ \rho = 2 / (1 + |z|^2)

    in one pass from the latent to the density, with the terms of `vmf_log_prob` and
    `stereographic`. z = 0 is mapped to :math:`-e_{d+1}`.

    Args:
        z: points (\*batch, d), d >= 1, float16, bfloat16, float32 or float64.
        loc: mean directions (\*batch, d + 1), unit vectors.
        concentration: kappa >= 0, (\*batch) or a number; batches broadcast.

    Returns:
        log density (\*batch) in nats with respect to Lebesgue measure on R^d, at least
        float32.

    Raises:
        ValueError: for shapes that do not fit or a negative concentration.
        TypeError: for dtypes that are not floating or do not go together.

    Source: Fadel et al., Principled Interpolation in Normalizing Flows (arXiv 2010.12059),
    section 3.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> loc = torch.tensor([0.0, 0.0, -1.0])
        >>> ops.stereographic_vmf_log_prob(torch.zeros(2), loc, 2.0)
        tensor(0.2600)
    """
    concentration = _concentration("stereographic_vmf_log_prob", z, concentration)
    out: Tensor = _stereographic_vmf_log_prob(z, loc, concentration, True)
    return out
