"""A RealNVP in plain torch, and the same with one op in place of its coupling.

The plain coupling splits its input, scales and shifts one half, joins the halves and sums the
log-det. `ops.affine_coupling_split` does all of this in one pass. The parameters are the same, so
a checkpoint of one model loads into the other. The outcome is the largest difference of the two
models' log densities and gradients, which is rounding.

    python docs/examples/realnvp_with_an_op.py
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from flowkernels import ops


class PlainCoupling(nn.Module):
    """An affine coupling as it is usually written; log s is between -2 and 2."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        kept, coupled = dim - dim // 2, dim // 2
        self.net = nn.Sequential(
            nn.Linear(kept, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 2 * coupled),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The result and the log-det, (n, dim) and (n,)."""
        kept, coupled = x.tensor_split([x.shape[1] - x.shape[1] // 2], dim=1)
        shift, raw = self.net(kept).chunk(2, 1)
        log_scale = 2 * torch.tanh(raw / 2)
        return torch.cat([kept, coupled * log_scale.exp() + shift], 1), log_scale.sum(1)


class FusedCoupling(PlainCoupling):
    """The same coupling by one op."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The result and the log-det, (n, dim) and (n,)."""
        kept, x = ops.identity_split(x, x.shape[1] // 2)
        return ops.affine_coupling_split(x, self.net(kept))


class RealNVP(nn.Module):
    """Couplings that alternate the halves, and a standard normal."""

    def __init__(self, coupling: type[PlainCoupling], dim: int = 6, layers: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(coupling(dim, 64) for _ in range(layers))

    def log_prob(self, x: Tensor) -> Tensor:
        """The log density of each row, (n,)."""
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x.flip(1))
            total = total + log_det
        return total - x.square().sum(1) / 2 - x.shape[1] / 2 * math.log(2 * math.pi)


def main() -> float:
    """The largest difference of log densities and gradients, relative to their size."""
    torch.manual_seed(0)
    plain, fused = RealNVP(PlainCoupling), RealNVP(FusedCoupling)
    fused.load_state_dict(plain.state_dict())
    x = torch.randn(512, 6)
    found = []
    for model in (plain, fused):
        log_prob = model.log_prob(x)
        gradients = torch.autograd.grad(-log_prob.mean(), list(model.parameters()))
        found.append([log_prob, *gradients])
    worst = max(((a - b).abs().max() / a.abs().max()).item() for a, b in zip(*found, strict=True))
    print(f"the largest relative difference of {len(found[0])} tensors is {worst:.1e}")
    return worst


if __name__ == "__main__":
    main()
