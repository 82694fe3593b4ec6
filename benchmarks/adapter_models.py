"""Typical flows of nflows, normflows, zuko and FrEIA, as their own documentation builds them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

LAYERS, HIDDEN, BINS = 8, 64, 8


class Model(NamedTuple):
    """A flow and its log density of a batch."""

    module: nn.Module
    log_prob: Callable[[nn.Module, Tensor], Tensor]


Maker = Callable[[int], Model]


def _method(flow: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = flow.log_prob(x)  # type: ignore[operator]
    return out


def _lazy(flow: nn.Module, x: Tensor) -> Tensor:
    out: Tensor = flow().log_prob(x)
    return out


def _standard_normal(flow: nn.Module, x: Tensor) -> Tensor:
    z, log_det = flow(x)
    base: Tensor = -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
    return base + log_det


# ---- nflows ---------------------------------------------------------------------------------


def nflows_realnvp(dim: int) -> Model:
    """Affine couplings with alternating masks and residual networks."""
    from nflows.flows import SimpleRealNVP

    return Model(SimpleRealNVP(dim, HIDDEN, LAYERS, 2), _method)


def nflows_nsf(dim: int) -> Model:
    """Spline couplings with the same masks and networks."""
    from nflows.distributions import StandardNormal
    from nflows.flows import Flow
    from nflows.nn.nets import ResidualNet
    from nflows.transforms import CompositeTransform, PiecewiseRationalQuadraticCouplingTransform
    from nflows.utils import create_alternating_binary_mask

    layers = [
        PiecewiseRationalQuadraticCouplingTransform(
            create_alternating_binary_mask(dim, even=i % 2 == 0),
            lambda a, b: ResidualNet(a, b, HIDDEN, num_blocks=2),
            num_bins=BINS, tails="linear", tail_bound=3.0,
        )
        for i in range(LAYERS)
    ]  # fmt: skip
    return Model(Flow(CompositeTransform(layers), StandardNormal([dim])), _method)


def nflows_maf(dim: int) -> Model:
    """Masked autoregressive layers with residual networks."""
    from nflows.flows import MaskedAutoregressiveFlow

    return Model(MaskedAutoregressiveFlow(dim, HIDDEN, LAYERS, 2), _method)


# ---- normflows ------------------------------------------------------------------------------


def normflows_realnvp(dim: int) -> Model:
    """Affine couplings with halves that change places."""
    import normflows as nf

    half = dim // 2
    flows: list[nn.Module] = []
    for _ in range(LAYERS):
        net = nf.nets.MLP([half, HIDDEN, HIDDEN, dim], init_zeros=True)
        flows += [nf.flows.AffineCouplingBlock(net), nf.flows.Permute(dim, mode="swap")]
    return Model(nf.NormalizingFlow(nf.distributions.DiagGaussian(dim), flows), _method)


def normflows_nsf(dim: int) -> Model:
    """Spline couplings with linear layers between them."""
    import normflows as nf

    flows: list[nn.Module] = []
    for _ in range(LAYERS):
        flows += [
            nf.flows.CoupledRationalQuadraticSpline(dim, 2, HIDDEN),
            nf.flows.LULinearPermute(dim),
        ]
    return Model(nf.NormalizingFlow(nf.distributions.DiagGaussian(dim), flows), _method)


def normflows_glow(size: int) -> Model:
    """Two levels of four Glow blocks on images (3, size, size)."""
    import normflows as nf

    levels, steps = 2, 4
    bases, merges, flows = [], [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.lu, which normflows calls
        for i in range(levels):
            wide = 3 * 2 ** (levels + 1 - i)
            level = [
                nf.flows.GlowBlock(wide, HIDDEN, split_mode="channel", scale=True)
                for _ in range(steps)
            ]
            flows.append([*level, nf.flows.Squeeze()])
            width = size // 2 ** (levels - i)
            if i > 0:
                merges.append(nf.flows.Merge())
            shape = (wide // 2 if i > 0 else wide, width, width)
            bases.append(nf.distributions.DiagGaussian(shape, trainable=False))
    flow = nf.MultiscaleFlow(bases, flows, merges, class_cond=False)
    return Model(flow, lambda module, x: module.log_prob(x, None))  # type: ignore[operator]


# ---- zuko -----------------------------------------------------------------------------------


def zuko_nice(dim: int) -> Model:
    """Affine couplings with alternating masks."""
    import zuko

    return Model(zuko.flows.NICE(dim, transforms=LAYERS, hidden_features=(HIDDEN,) * 2), _lazy)


def zuko_maf(dim: int) -> Model:
    """Masked autoregressive layers."""
    import zuko

    return Model(zuko.flows.MAF(dim, transforms=LAYERS, hidden_features=(HIDDEN,) * 2), _lazy)


def zuko_nsf(dim: int) -> Model:
    """Autoregressive splines."""
    import zuko

    flow = zuko.flows.NSF(dim, transforms=LAYERS, bins=BINS, hidden_features=(HIDDEN,) * 2)
    return Model(flow, _lazy)


# ---- FrEIA ----------------------------------------------------------------------------------


def _subnet(a: int, b: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(a, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, b)
    )


def _freia(block: str, dim: int) -> Model:
    import FrEIA.framework as ff
    import FrEIA.modules as fm

    flow = ff.SequenceINN(dim)
    for _ in range(LAYERS):
        flow.append(getattr(fm, block), subnet_constructor=_subnet)
    return Model(flow, _standard_normal)


def freia_all_in_one(dim: int) -> Model:
    """AllInOne blocks, as FrEIA's quick start has them."""
    return _freia("AllInOneBlock", dim)


def freia_glow(dim: int) -> Model:
    """GLOW blocks, two couplings each."""
    return _freia("GLOWCouplingBlock", dim)


def freia_rnvp(dim: int) -> Model:
    """RNVP blocks, two couplings with two networks each."""
    return _freia("RNVPCouplingBlock", dim)


VECTORS: dict[str, dict[str, Maker]] = {
    "nflows": {"RealNVP": nflows_realnvp, "NSF": nflows_nsf, "MAF": nflows_maf},
    "normflows": {"RealNVP": normflows_realnvp, "NSF": normflows_nsf},
    "zuko": {"NICE": zuko_nice, "NSF": zuko_nsf, "MAF": zuko_maf},
    "FrEIA": {"AllInOne": freia_all_in_one, "GLOW": freia_glow, "RNVP": freia_rnvp},
}
IMAGES: dict[str, dict[str, Maker]] = {"normflows": {"Glow": normflows_glow}}


def images(rows: int, size: int) -> Tensor:
    """Images for `IMAGES`."""
    return torch.rand(rows, 3, size, size)
