"""Training steps and use of flows that read a context under the watch; see test_no_copies.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from flowkernels import bases, bijections, flows
from flowkernels.flows import Flow

from .watch import fake_device, to_device, watched

ROWS, DIM, IMAGE, FEATURES, CLASSES = 6, 16, (1, 4, 4), 3, 5


def _parts() -> Flow:
    """What reads a context beside the couplings, and Glow steps with and without one."""
    layers = [
        bijections.ActNorm(DIM, context_features=FEATURES),
        bijections.Inverse(bijections.ActNorm(DIM, context_features=FEATURES)),
        bijections.AffineCoupling(bijections.mlp_conditioner(DIM // 2, DIM, context=FEATURES)),
    ]
    base = bases.ConditionalNormal(DIM, FEATURES, hidden=(8,))
    return Flow(bijections.Compose(layers), base)


# How each flow is built, of contexts (*batch, FEATURES) or, where it embeds them, of classes.
FLOWS: dict[str, Callable[..., Flow]] = {
    "realnvp": lambda: flows.realnvp(DIM, layers=3, hidden=8, context=FEATURES),
    "wide": lambda: flows.realnvp(
        DIM, layers=2, hidden=8, context=20, embedding=nn.Linear(FEATURES, 20),
        context_shape=(FEATURES,),
    ),
    "glow": lambda: flows.glow(
        IMAGE, levels=2, steps=2, hidden=8, context=4, embedding=nn.Embedding(CLASSES, 4),
        context_shape=(),
    ),
    "recompute": lambda: flows.realnvp(DIM, layers=2, hidden=8, context=FEATURES, recompute=True),
    "parts": _parts,
}  # fmt: skip

each_flow = pytest.mark.parametrize("kind", FLOWS)
# The batch shapes of data and contexts: one each, groups, one for all.
each_batch = pytest.mark.parametrize(
    ("batch", "given"), [((ROWS,), (ROWS,)), ((ROWS, 2), (ROWS, 1)), ((ROWS,), ())]
)


def data(flow: Flow, batch: tuple[int, ...], given: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    shape = (*batch, *flow.event_shape)
    if flow.context_shape == ():
        context = torch.randint(CLASSES, given, device="cuda")
    else:
        context = torch.randn(*given, *flow.context_shape, device="cuda")
    if flow.dequantize is None:
        return torch.randn(shape, device="cuda"), context
    return torch.randint(256, shape, dtype=torch.uint8, device="cuda"), context


@each_batch
@each_flow
def test_training_step(kind: str, batch: Any, given: Any) -> None:
    flow = FLOWS[kind]()
    with fake_device():
        to_device(flow.train())
        optimizer = torch.optim.AdamW(flow.parameters(), fused=True)
        x, context = data(flow, batch, given)

        def one() -> None:
            optimizer.zero_grad()
            flow.log_prob(x, context).mean().backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        if kind == "recompute":
            one()  # the first run tells whether layers draw random numbers
        with watched():
            one()


@each_batch
@each_flow
def test_use(kind: str, batch: Any, given: Any) -> None:
    flow = FLOWS[kind]()
    with fake_device(), torch.no_grad():
        to_device(flow.eval())
        x, context = data(flow, batch, given)
        y, _ = data(flow, batch, given)
        with watched():
            z, _ = flow(x, context)
            flow.inverse(z, context)
            flow.bits_per_dim(x, context)
            flow.sample(3, context)
            if flow.dequantize is None:
                flow.sample_and_log_prob(3, context)
                flow.rsample_and_log_prob(3, context)
            flow.interpolate(x, y, 0.3, context=context)
            flow.interpolate(x, y, torch.linspace(0, 1, 5, device="cuda"), context=context)
