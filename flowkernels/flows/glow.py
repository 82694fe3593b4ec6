"""Glow flows for images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.distributions import Distribution

from flowkernels import arguments
from flowkernels.bases import Base, make_base
from flowkernels.bijections import (
    AffineCoupling,
    Bijection,
    Compose,
    Dequantize,
    GlowStep,
    GlowSteps,
    Logit,
    Multiscale,
    VariationalDequantize,
    conv_conditioner,
)

from .flow import Flow


def glow(
    event_shape: Sequence[int],
    *,
    levels: int = 2,
    steps: int = 4,
    hidden: int = 64,
    base: str | Base | Distribution = "vmf",
    concentration_scale: float = 1.0,
    dequantize: bool | str | Dequantize = True,
    alpha: float = 0.05,
    recompute: bool = False,
    context: int = 0,
    embedding: nn.Module | None = None,
    context_shape: Sequence[int] | None = None,
    **coupling: Any,
) -> Flow:
    """A multi-scale affine-coupling flow on images with its base on the whole latent.

    Dequantise, logit, then `levels` times: squeeze, `steps` Glow steps, split
    half of the channels off to the latent (Kingma & Dhariwal 2018; the base on
    the whole latent z in R^d, d = C H W, as in Fadel et al. 2021).

    Args:
        event_shape: (C, H, W), H and W divisible by 2**levels (28x28 allows 2).
        levels: number of scales.
        steps: Glow steps per scale.
        hidden: channels of the coupling networks.
        base: a name of :func:`flowkernels.bases.base_names` such as ``"vmf"``, or a base module
            or torch distribution on R^d.
        concentration_scale: c: for the bases on the sphere, concentration k = c d; for
            Dirichlet bases, c of each coordinate.
        dequantize: images are 8-bit levels, uint8 or float in [0, 255]. True or ``"uniform"``:
            with uniform noise; ``"variational"``: with learned noise, see
            :class:`flowkernels.bijections.VariationalDequantize`; or such a module, for other
            widths or numbers of levels. False for real-valued images, without dequantisation
            and logit.
        alpha: of the logit.
        recompute: store no activations for the backward pass, see :class:`Flow`.
        context: features c of a context that every coupling reads, 0 for none: p(x | context).
        embedding, context_shape: of raw contexts, see :class:`Flow`.
        **coupling: scale_fn, bound, layout and order, see
            :func:`flowkernels.ops.affine_coupling`.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> import torch
        >>> flow = glow((1, 28, 28), levels=2, steps=2, hidden=16)
        >>> x = torch.randint(256, (2, 1, 28, 28), dtype=torch.uint8)
        >>> flow.bits_per_dim(x).shape
        torch.Size([2])
        >>> flow = glow(
        ...     (1, 28, 28), levels=2, steps=2, hidden=16, context=8,
        ...     embedding=torch.nn.Embedding(10, 8), context_shape=(),
        ... )  # images given their class
        >>> flow.sample(3, torch.tensor([0, 7])).shape
        torch.Size([2, 3, 1, 28, 28])
    """
    for name, value in (("levels", levels), ("steps", steps), ("hidden", hidden)):
        arguments.integer("glow", name, value)
    arguments.integer("glow", "context", context, 0)
    multiscale = Multiscale.build(
        event_shape,
        levels,
        lambda channels: _steps(channels, steps, hidden, context, coupling),
    )
    noise = _dequantisation(dequantize, multiscale.event_shape[0])
    bijection: Bijection = multiscale if noise is None else Compose([Logit(alpha), multiscale])
    return Flow(
        bijection,
        make_base(base, multiscale.event_shape.numel(), concentration_scale),
        event_shape=event_shape,
        dequantize=noise,
        recompute=recompute,
        embedding=embedding,
        context_shape=context_shape,
    )


def _dequantisation(given: bool | str | Dequantize, channels: int) -> Dequantize | None:
    if isinstance(given, Dequantize):
        return given
    if isinstance(given, bool):
        return Dequantize() if given else None
    if not isinstance(given, str):
        raise TypeError(
            "glow: dequantize must be a bool, a name or a Dequantize module, "
            f"got {type(given).__name__}"
        )
    arguments.choice("glow", "dequantize", given, ("uniform", "variational"))
    return Dequantize() if given == "uniform" else VariationalDequantize(channels)


def _steps(
    channels: int, steps: int, hidden: int, context: int, coupling: dict[str, Any]
) -> GlowSteps:
    half = channels // 2

    def step() -> GlowStep:
        network = conv_conditioner(half, 2 * half, hidden, context=context)
        return GlowStep(channels, AffineCoupling(network, **coupling))

    return GlowSteps(step() for _ in range(steps))
