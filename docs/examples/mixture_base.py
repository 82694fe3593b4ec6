"""A flow whose base is a mixture on the sphere finds the groups in its data.

The data are three separate clouds. Flows are continuous, so a flow with one Gaussian as its base
connects the clouds by bridges of probability. A mixture of three von Mises-Fisher distributions,
trained with the flow, gives each cloud a component of its own. The outcome is the share of points
whose most probable component is that of their cloud.

    python docs/examples/mixture_base.py
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from flowkernels.bases import Base, SphericalVonMisesFisherMixture, StandardNormal
from flowkernels.flows import Flow, realnvp


def clouds(count: int) -> tuple[Tensor, Tensor]:
    """Points (count, 2) and which of three clouds each is from."""
    label = torch.arange(count) % 3
    angle = label * (2 * math.pi / 3)
    centre = 2 * torch.stack([angle.cos(), angle.sin()], -1)
    return centre + 0.3 * torch.randn(count, 2), label


def train(base: Base, data: Tensor, steps: int = 300) -> Flow:
    """A small RealNVP on the data."""
    flow = realnvp(2, layers=4, hidden=16, base=base)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -flow.log_prob(data).mean()
        loss.backward()
        optimizer.step()
    return flow.eval()


def main() -> float:
    """The share of points in the component of their cloud."""
    torch.manual_seed(1)
    data, label = clouds(900)
    held_out, _ = clouds(900)
    mixture = SphericalVonMisesFisherMixture(2, 3, 4.0)
    for name, base in (("Gaussian", StandardNormal(2)), ("mixture", mixture)):
        flow = train(base, data)
        print(f"{name} base: {flow.log_prob(held_out).mean():.3f} nats a held-out point")
    with torch.no_grad():
        component = mixture.posterior(flow(data)[0]).probs.argmax(-1)
    table = torch.zeros(3, 3).index_put_((component, label), torch.ones(()), accumulate=True)
    share = (table.max(1).values.sum() / len(label)).item()
    print(f"{share:.1%} of the points are in the component of their cloud")
    return share


if __name__ == "__main__":
    main()
