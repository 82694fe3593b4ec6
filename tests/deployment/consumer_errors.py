"""Wrong uses, each of which type checkers must report: lines that end with `# wrong`."""

from __future__ import annotations

import torch
from torch import Tensor

from flowkernels import cluster, flows, ops
from flowkernels.adapters import onnx
from flowkernels.distributions import VonMisesFisher


def wrong(x: Tensor) -> None:
    ops.affine_coupling(x, x, scale_fn="tan")  # wrong
    ops.rational_quadratic_spline(x, x, bins="8")  # wrong
    ops.rational_quadratic_spline(x, x, boundary="round")  # wrong
    ops.slerp(x, x)  # wrong
    ops.mlp(x, x, [x], activation="gelu")  # wrong
    ops.stereographic(x).sum()  # wrong
    ops.stereo(x)  # wrong
    y: Tensor = ops.affine_coupling_split(x, x)  # wrong
    flows.nsf("2")  # wrong
    flows.nsf(2, layers="3")  # wrong
    flows.glow(28)  # wrong
    flows.nsf(2).log_prob([0.0, 1.0])  # wrong
    flows.nsf(2).logprob(x)()  # wrong
    VonMisesFisher(x)  # wrong
    cluster.SphericalKMeans(clusters=3)  # wrong
    onnx.export(x)  # wrong
    torch.relu(y)
