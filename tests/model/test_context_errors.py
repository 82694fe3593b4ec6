"""A context that is missing, superfluous or wrong is an error that names it."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from flowkernels.bases import ConditionalNormal, StandardNormal
from flowkernels.bijections import (
    ActNorm,
    AffineCoupling,
    Compose,
    Flip,
    GlowStep,
    GlowSteps,
    Inverse,
    Multiscale,
    conv_conditioner,
    mlp_conditioner,
)
from flowkernels.flows import Flow, realnvp

from .context_flows import LAYERS, Conditioner, Shift

READS, NONE = realnvp(4, layers=2, hidden=4, context=3), realnvp(4, layers=2, hidden=4)
X = torch.randn(5, 4)
CALLS = {
    "forward": lambda f, c: f(X, c),
    "inverse": lambda f, c: f.inverse(X, c),
    "log_prob": lambda f, c: f.log_prob(X, c),
    "bits_per_dim": lambda f, c: f.bits_per_dim(X, c),
    "sample": lambda f, c: f.sample(2, c),
    "sample_and_log_prob": lambda f, c: f.sample_and_log_prob(2, c),
    "rsample_and_log_prob": lambda f, c: f.rsample_and_log_prob(2, c),
    "interpolate": lambda f, c: f.interpolate(X, X, 0.5, None, c),
    "latent_path": lambda f, c: f.latent_path(X, X, 0.5, None, c),
}
DRAWS = ("sample", "sample_and_log_prob", "rsample_and_log_prob")


# (context, error, what was expected, what came)
WRONG = [
    (None, TypeError, "have shape (*batch, 3), as this flow reads one", "None"),
    ([1.0, 2.0, 3.0], TypeError, "be a torch.Tensor", "list"),
    (torch.randn(5, 2), ValueError, "have shape (*batch, 3)", "(5, 2)"),
    (torch.tensor(1.0), ValueError, "have shape (*batch, 3)", "()"),
    (torch.randn(5, 3).double(), TypeError, "the flow's dtype torch.float32", "torch.float64"),
    (torch.ones(5, 3).long(), TypeError, "the flow's dtype torch.float32", "torch.int64"),
    (torch.randn(5, 3, device="meta"), ValueError, "on the flow's device cpu", "meta"),
]
# Draws may have any batch of contexts.
WRONG_BESIDE_DATA = [
    (torch.randn(4, 3), ValueError, "broadcasts to (5,)", "(4,)"),
    (torch.randn(2, 5, 3), ValueError, "broadcasts to (5,)", "(2, 5)"),
]


@pytest.mark.parametrize(
    ("name", "context", "error", "expected", "got"),
    [
        *[(name, *wrong) for name in CALLS for wrong in WRONG],
        *[(name, *wrong) for name in CALLS if name not in DRAWS for wrong in WRONG_BESIDE_DATA],
    ],
)
def test_a_wrong_context_is_named(name, context, error, expected, got):
    wanted = rf"^Flow: context must .*{re.escape(expected)}.*got .*{re.escape(got)}"
    with pytest.raises(error, match=wanted):
        CALLS[name](READS, context)


@pytest.mark.parametrize("name", CALLS)
def test_a_superfluous_context_is_named(name):
    with pytest.raises(
        TypeError, match=r"^Flow: context must be None, as neither .*, got shape \(5, 3\)"
    ):
        CALLS[name](NONE, torch.randn(5, 3))


def test_wrong_parts_are_named():
    reads2, reads3 = (AffineCoupling(mlp_conditioner(2, 4, context=c)) for c in (2, 3))
    with pytest.raises(ValueError, match=r"^Compose: all parts .* got \[2, 3\]"):
        Compose([reads2, Flip(), reads3])
    with pytest.raises(ValueError, match=r"^Flow: all parts .* got \[2, 3\]"):
        Flow(Compose([reads3]), ConditionalNormal(4, 2))
    for wrong in ("text", 3):
        with pytest.raises(TypeError, match=r"^Flow: embedding must be a module, got "):
            realnvp(4, context=3, embedding=wrong)
    with pytest.raises(
        ValueError, match=r"^Flow: context_shape must be \(3,\) without .*got \(2,\)"
    ):
        realnvp(4, context=3, context_shape=(2,))
    flow = realnvp(4, layers=1, hidden=4, context=3, embedding=nn.Linear(2, 4), context_shape=(2,))
    with pytest.raises(ValueError, match=r"^Flow: embedding must return .*\(5, 3\), got \(5, 4\)"):
        flow.log_prob(X, torch.randn(5, 2))
    flow.embedding = nn.Flatten(0)
    with pytest.raises(ValueError, match=r"^Flow: embedding must return .*\(5, 3\), got \(10,\)"):
        flow.log_prob(X, torch.randn(5, 2))


@pytest.mark.parametrize("name", LAYERS)
def test_bijections_name_a_wrong_context(name):
    make, event = LAYERS[name]
    layer, x = make().eval(), torch.randn(6, *event)
    z, _ = layer(x, torch.randn(6, 3))
    wrong = (None, "text", torch.randn(6, 2), torch.randn(4, 3), torch.randn(0, 3), torch.randn(3))
    for value in wrong:
        for call, given in ((layer, x), (layer.inverse, z)):
            with pytest.raises((TypeError, ValueError), match=rf"^{name}: context must .*got "):
                call(given, value)


UNREAD = {
    "ActNorm": lambda: ActNorm(4),
    "AffineCoupling": lambda: AffineCoupling(mlp_conditioner(2, 4)),
    "Compose": lambda: Compose([Flip()]),
    "GlowStep": lambda: GlowStep(4, AffineCoupling(conv_conditioner(2, 4))),
    "GlowSteps": lambda: GlowSteps([GlowStep(4, AffineCoupling(conv_conditioner(2, 4)))]),
    "Inverse": lambda: Inverse(Flip()),
    "Multiscale": lambda: Multiscale([Flip()], (1, 4, 4)),
}


@pytest.mark.parametrize("name", UNREAD)
def test_bijections_name_a_superfluous_context(name):
    shape = {"Multiscale": (2, 1, 4, 4), "GlowStep": (2, 4, 2, 2), "GlowSteps": (2, 4, 2, 2)}
    layer, x = UNREAD[name]().eval(), torch.randn(shape.get(name, (2, 4)))
    for call, given in ((layer, x), (layer.inverse, layer(x)[0])):
        with pytest.raises(
            TypeError, match=rf"^{name}: context must be None, .*got shape \(2, 3\)"
        ):
            call(given, torch.randn(2, 3))


def test_a_coupling_agrees_with_its_conditioner():
    for network, given in (
        (mlp_conditioner(2, 4, context=3), 2),
        (mlp_conditioner(2, 4), 3),
        (Shift(4), 2),
    ):
        with pytest.raises(ValueError, match=r"^AffineCoupling: context_features must be the cond"):
            AffineCoupling(network, context_features=given)
    assert AffineCoupling(Conditioner(2, 4), context_features=3).context_features == 3
    assert AffineCoupling(Conditioner(2, 4)).context_features == 0
    assert AffineCoupling(mlp_conditioner(2, 4, context=3)).context_features == 3


def test_a_base_names_a_wrong_context():
    base, plain = ConditionalNormal(3, 2), StandardNormal(3)
    z = torch.randn(4, 3)
    for wrong in (None, "text", torch.randn(4, 3), torch.tensor(1.0)):
        for call in (
            lambda c: base.log_prob(z, c), lambda c: base.sample(2, c),
            lambda c: base.rsample((2,), c), lambda c: base.path(z, z, 0.5, context=c),
            lambda c: base.as_distribution(c),
        ):  # fmt: skip
            with pytest.raises((TypeError, ValueError), match=r"^ConditionalNormal: context must "):
                call(wrong)
    for call in (plain.log_prob, plain.sample):
        with pytest.raises(TypeError, match=r"^StandardNormal: context must be None, .*got Tensor"):
            call(z if call == plain.log_prob else 2, torch.randn(4, 2))
