"""Small flows whose methods are exported."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from flowkernels.flows import Flow, glow, nsf, realnvp

BATCH = torch.export.Dim("batch", min=1, max=4096)
SHAPES = {"realnvp": (4,), "nsf": (3,), "glow": (1, 4, 4)}


class Method(nn.Module):
    """A method of a flow, as torch.export takes it."""

    def __init__(self, flow: Flow, method: str) -> None:
        super().__init__()
        self.flow, self.method = flow, method

    def forward(self, x: Tensor) -> Any:
        return getattr(self.flow, self.method)(x)


@functools.cache
def flow_of(name: str) -> Flow:
    """A flow in evaluation mode whose ActNorms have seen data."""
    torch.manual_seed(0)
    flow = {
        "realnvp": lambda: realnvp(4, layers=3, hidden=8, base="vmf"),
        "nsf": lambda: nsf(3, layers=2, hidden=8, bins=4),
        "glow": lambda: glow(
            (1, 4, 4), levels=1, steps=2, hidden=4, base="normal", dequantize=False
        ),
    }[name]()
    flow.log_prob(torch.rand(64, *SHAPES[name]))
    return flow.eval()


def input_of(name: str, method: str, rows: int) -> Tensor:
    """Data, or latents for the inverse."""
    flow = flow_of(name)
    shape = flow.latent_shape if method == "inverse" else SHAPES[name]
    return torch.rand(rows, *shape)


def exported(name: str, method: str) -> torch.export.ExportedProgram:
    """The program of a method, of any batch size."""
    with torch.no_grad():
        return torch.export.export(
            Method(flow_of(name), method),
            (input_of(name, method, 8),),
            dynamic_shapes=({0: BATCH},),
        )
