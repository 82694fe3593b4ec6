"""torch.export captures the methods of flows, of any batch size, and programs survive a file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flowkernels.flows import glow

from .models import SHAPES, exported, flow_of, input_of


def assert_equal(found: object, wanted: object) -> None:
    """The same ops on the same numbers."""
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ["log_prob", "forward", "inverse"])
@pytest.mark.parametrize("name", SHAPES)
def test_methods_of_any_batch(name: str, method: str, tmp_path: Path) -> None:
    program = exported(name, method)
    assert any("flowkernels" in str(node.target) for node in program.graph.nodes)
    torch.export.save(program, tmp_path / "flow.pt2")
    loaded = torch.export.load(tmp_path / "flow.pt2")
    for rows in (1, 8, 33):
        x = input_of(name, method, rows)
        with torch.no_grad():
            wanted = getattr(flow_of(name), method)(x)
        for each in (program, loaded):
            assert_equal(each.module()(x), wanted)


class Draws(nn.Module):
    """A discrete flow's log_prob, whose dequantisation draws noise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.flow = glow((1, 4, 4), levels=1, steps=2, hidden=4, base="vmf")
        self.flow.log_prob(torch.randint(256, (16, 1, 4, 4), dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x)


def test_noise_comes_from_torch_as_in_eager_mode() -> None:
    model = Draws().eval()
    x = torch.randint(256, (5, 1, 4, 4), dtype=torch.uint8)
    program = torch.export.export(model, (x,)).module()
    torch.manual_seed(3)
    wanted = model(x)
    torch.manual_seed(3)
    assert_equal(program(x), wanted)
    assert not torch.equal(program(x), wanted)  # other noise
