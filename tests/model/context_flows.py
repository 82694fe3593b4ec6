"""Flows and layers that read a context, for the tests of contexts."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowkernels.bases import ConditionalNormal, StandardNormal
from flowkernels.bijections import (
    ActNorm,
    AffineAutoregressive,
    AffineCoupling,
    Bijection,
    Compose,
    Flip,
    GlowStep,
    GlowSteps,
    Inverse,
    MaskedNetwork,
    Multiscale,
    conv_conditioner,
)
from flowkernels.bijections.base import constant_log_det
from flowkernels.flows import Flow, glow, maf, nsf, realnvp

FEATURES = 3


class Shift(Bijection):
    """A user's map, which gets the context of each row."""

    context_features = FEATURES
    reversible = True

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(FEATURES, channels))

    def forward(self, x, context):
        return x + context @ self.weight, constant_log_det(x, 0.0)

    def inverse(self, z, context):
        return z - context @ self.weight, constant_log_det(z, 0.0)


class Doubled(Bijection):
    """A user's map that knows no context."""

    reversible = True

    def forward(self, x):
        return 2 * x, constant_log_det(x, x.shape[1] * torch.tensor(2.0).log())

    def inverse(self, z):
        return z / 2, constant_log_det(z, -z.shape[1] * torch.tensor(2.0).log())


class Conditioner(nn.Module):
    """A user's network, which gets the context of each row."""

    def __init__(self, kept, out):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(kept + FEATURES, 8), nn.Tanh(), nn.Linear(8, out))

    def forward(self, kept, context):
        return self.network(torch.cat([kept, context], 1))


def own_parts():
    coupling = AffineCoupling(Conditioner(2, 4), context_features=FEATURES)
    layers = [ActNorm(4, context_features=FEATURES), coupling, Flip(), Shift(4), Doubled()]
    return Flow(
        Compose([*layers, Inverse(ActNorm(4, context_features=FEATURES))]), StandardNormal(4)
    )


# name: (make, event shape)
FLOWS = {
    "realnvp": (lambda: realnvp(5, layers=3, hidden=(6, 7), context=FEATURES), (5,)),
    "maf": (lambda: maf(4, layers=2, hidden=(6, 7), context=FEATURES), (4,)),
    "maf_spline": (
        lambda: maf(4, layers=2, hidden=6, transform="spline", bins=3, context=FEATURES), (4,),
    ),
    "wide": (lambda: realnvp(4, layers=2, hidden=6, context=20), (4,)),
    "glow": (
        lambda: glow(
            (2, 4, 4), levels=2, steps=2, hidden=6, dequantize=False, base="vmf", context=FEATURES
        ),
        (2, 4, 4),
    ),
    "nsf": (lambda: nsf(5, layers=3, hidden=(6, 7), bins=4, context=FEATURES), (5,)),
    "base": (
        lambda: realnvp(
            4, layers=2, hidden=6, context=FEATURES,
            base=ConditionalNormal(4, FEATURES, hidden=(5,)),
        ),
        (4,),
    ),
    "base_alone": (lambda: Flow(Compose([Flip()]), ConditionalNormal(4, FEATURES)), (4,)),
    "autoregressive": (
        lambda: Flow(
            Compose([AffineAutoregressive(MaskedNetwork(4, 2, (6,), context=FEATURES))]),
            StandardNormal(4),
        ),
        (4,),
    ),
    "own_parts": (own_parts, (4,)),
    "embedded": (
        lambda: realnvp(
            4, layers=2, hidden=6, context=FEATURES, embedding=nn.Linear(2, FEATURES),
            context_shape=(2,),
        ),
        (4,),
    ),
}  # fmt: skip

each_flow = pytest.mark.parametrize(("make", "event"), FLOWS.values(), ids=FLOWS)


def case(make, event, randomize, batch, contexts=None):
    """A float64 flow in evaluation mode, data (*batch, *event) and contexts (*contexts, c)."""
    torch.manual_seed(0)
    flow = randomize(make().double())
    x = torch.randn(*batch, *event, dtype=torch.float64)
    contexts = batch if contexts is None else contexts
    return flow, x, torch.randn(*contexts, *flow.context_shape, dtype=torch.float64)


class Density(nn.Module):
    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, x, context):
        return self.flow.log_prob(x, context)


patterns = pytest.mark.parametrize("groups", [6, 3, 1], ids=["each", "groups", "one"])


def coupling(channels=4):
    half = channels // 2
    return AffineCoupling(conv_conditioner(half, 2 * half, 5, context=3))


LAYERS = {
    "ActNorm": (lambda: ActNorm(4, context_features=3), (4, 2, 2)),
    "AffineCoupling": (coupling, (4, 2, 2)),
    "Compose": (lambda: Compose([coupling(), Flip(), ActNorm(4)]), (4, 2, 2)),
    "GlowStep": (lambda: GlowStep(4, coupling()), (4, 2, 2)),
    "GlowSteps": (
        lambda: GlowSteps([GlowStep(4, coupling()),
                           GlowStep(4, AffineCoupling(conv_conditioner(2, 4, 5)))]),
        (4, 2, 2),
    ),
    "Inverse": (lambda: Inverse(coupling()), (4, 2, 2)),
    "Multiscale": (lambda: Multiscale([coupling(), Flip()], (1, 4, 4)), (1, 4, 4)),
}  # fmt: skip
