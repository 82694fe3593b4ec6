"""Samples of the von Mises-Fisher distribution, with pathwise derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ._broadcast import common_batch, numbers
from ._declaration import Inputs, declare, public
from ._errors import check_floating
from ._fake import require
from ._spread import spread
from ._vmap import batched_first
from .composite import vmf_sample as formulas
from .tangent_normal import draw_seed, require_seed, tangent_normal


def _fake(
    concentration: Tensor, seed: Tensor, dim: int, slopes: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    require(dim >= 2, f"`dim` must be >= 2 (the sphere lies in R^dim), got {dim}")
    shape = concentration.shape
    require_seed(seed, shape)
    dtype = torch.promote_types(concentration.dtype, torch.float32)
    path = shape if slopes else (0,)
    return tuple(concentration.new_empty(s, dtype=dtype) for s in (shape, shape, path, path))  # type: ignore[return-value]


def _vmap(op: Callable[..., Any]) -> Callable[..., Any]:
    """One seed for each, or the same for all: vmap's randomness decides which it is."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        kappa, seed = (
            batched_first(a, d, info.batch_size) for a, d in zip(args[:2], in_dims[:2], strict=True)
        )
        path = 0 if args[3] else None
        return op(kappa, seed.contiguous(), *args[2:]), (0, 0, path, path)

    return rule


_cosine = declare(
    "vmf_sample_cosine", formula=formulas.vmf_sample_cosine, fake=_fake, vmap=_vmap, whole=True
)


def _mean(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    loc = torch.nn.functional.normalize(torch.randn(size[-1], dtype=torch.float64), dim=0)
    return loc, torch.tensor(float(size[-1]), dtype=torch.float64)


def _wants_path(kappa: Tensor) -> bool:
    """Whether a derivative in the concentration may be asked for."""
    if torch.compiler.is_compiling():
        return kappa.requires_grad
    return (kappa.requires_grad and torch.is_grad_enabled()) or forward_ad._current_level >= 0


@public(
    "vmf_sample_cosine",
    "tangent_normal",
    usage="vmf_sample(loc, kappa, (n,))",
    same="Wood's rejection sampler; pathwise derivatives, no host synchronisation",
    inputs=Inputs(tensors=_mean, options=lambda size: {"sample_shape": size[:1]}),
    random=True,
)
def vmf_sample(
    loc: Tensor,
    concentration: Tensor | float,
    sample_shape: Sequence[int] = (),
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    r"""Draws of the von Mises-Fisher distribution on S^(p-1).

    .. math:: p(x) = C_p(\kappa) \exp(\kappa\, \mu \cdot x)

    The cosine :math:`\mu \cdot x` comes from a rejection sampler with exact constants, at
    most 32 rounds (all of which fail with probability below 1e-14) and no synchronisation
    with the device; the rest is `tangent_normal`. Derivatives are pathwise: in :math:`\mu`
    through the isometry, in :math:`\kappa` at a fixed quantile of the cosine, so that
    expectations of first and second derivatives are those of expectations.

    Args:
        loc: mean directions :math:`\mu`, unit vectors (\*batch, p), p >= 2, float16,
            bfloat16, float32 or float64.
        concentration: kappa >= 0, (\*batch) or a number; batches broadcast. 0 is the
            uniform distribution.
        sample_shape: of independent draws.
        generator: of the one integer that the draws are made from; torch's own if left out.

    Returns:
        (\*sample_shape, \*batch, p) in the dtype of `loc`, of unit length to rounding.

    Raises:
        ValueError: for shapes that do not fit, p < 2 or a negative concentration.
        TypeError: for dtypes that are not floating.

    Source: Ulrich (1984), Wood (1994), Davidson et al. (arXiv 1804.00891), algorithm 1;
    Figurnov et al., Implicit Reparameterization Gradients (arXiv 1805.08498).

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> x = ops.vmf_sample(torch.tensor([0.0, 0.0, 1.0]), 50.0, (1000,))
        >>> x.shape, (x[:, 2].mean() - 0.98).abs() < 0.01  # A(50) = 0.98
        (torch.Size([1000, 3]), tensor(True))
    """
    _check(loc, concentration, sample_shape)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(
            f"vmf_sample: `generator` must be a torch.Generator, got {type(generator).__name__}"
        )
    wide = torch.promote_types(loc.dtype, torch.float32)
    kappa = (
        concentration.to(wide)
        if isinstance(concentration, Tensor)
        else numbers("vmf_sample", "concentration", concentration, wide, loc.device)
    )
    batch = common_batch("vmf_sample", [("loc", loc.shape[:-1]), ("concentration", kappa.shape)])
    kappa = spread(kappa, (*sample_shape, *batch))
    seed = draw_seed(loc.device, generator)
    wants = _wants_path(kappa)
    cosine, sine, slope, bend = _cosine(kappa.detach(), seed, loc.shape[-1], wants)
    if wants:
        cosine, sine = formulas.along_path(kappa, cosine, sine, slope, bend)
    return tangent_normal(loc, cosine, sine, seed)


def _check(loc: object, concentration: object, sample_shape: object) -> None:
    if not isinstance(sample_shape, Sequence):
        raise TypeError(
            f"vmf_sample: `sample_shape` must be a sequence of numbers >= 0, got {sample_shape!r}"
        )
    if not all(isinstance(size, Integral) and int(size) >= 0 for size in sample_shape):
        raise ValueError(
            "vmf_sample: `sample_shape` must be a sequence of numbers >= 0, got "
            f"{tuple(sample_shape)}"
        )
    check_floating("vmf_sample", "loc", loc)
    assert isinstance(loc, Tensor)
    if loc.ndim < 1 or loc.shape[-1] < 2:
        raise ValueError(
            f"vmf_sample: `loc` must have shape (*batch, p) with p >= 2, got {tuple(loc.shape)}"
        )
    if not isinstance(concentration, Tensor):
        if isinstance(concentration, Real) and not float(concentration) >= 0:
            raise ValueError(f"vmf_sample: `concentration` must be >= 0, got {concentration}")
        return
    check_floating("vmf_sample", "concentration", concentration)
    if concentration.device != loc.device:
        raise ValueError(
            f"vmf_sample: `concentration` must be on the device of `loc` ({loc.device}), got "
            f"{concentration.device}"
        )
