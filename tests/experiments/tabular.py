"""A table of a known conditional density, and flows that are that density or nearly so."""

import math

import numpy as np
import torch

from flowkernels.bases import make_base
from flowkernels.bijections import Bijection
from flowkernels.flows import Flow

# x | c ~ N(WEIGHT c + SHIFT, diag(SCALE^2)), c ~ N(5, 2^2)
WEIGHT = torch.tensor([[2.0, 0.0], [-1.0, 0.5]])
SHIFT = torch.tensor([100.0, -3.0])
SCALE = torch.tensor([0.5, 20.0])
# E log p(x | c)
EXPECTED = -math.log(0.5 * 20.0) - math.log(2 * math.pi * math.e)


def draw(count, seed=0):
    """x (count, 2) and context (count, 2)."""
    generator = torch.Generator().manual_seed(seed)
    context = 5 + 2 * torch.randn(count, 2, generator=generator)
    noise = torch.randn(count, 2, generator=generator)
    return context @ WEIGHT.T + SHIFT + SCALE * noise, context


def write(path, count=600, header="x,a,b,y", seed=0, rows=None):
    """A CSV with columns x, a, b, y, of which a and b are the context."""
    x, context = draw(count, seed)
    table = torch.stack([x[:, 0], context[:, 0], context[:, 1], x[:, 1]], 1).numpy()
    table = table if rows is None else rows(table)
    np.savetxt(path, table, delimiter=",", header=header, comments="", fmt="%.9g")
    return path


class Exact(Bijection):
    """z = (x - mean(c) - moved) / (narrowed scale): the known density if nothing is changed."""

    context_features = 2

    def __init__(self, narrowed=1.0, moved=0.0):
        super().__init__()
        self.narrowed, self.moved = narrowed, moved

    def _parts(self, context):
        mean = context @ WEIGHT.T + SHIFT + self.moved * SCALE
        scale = self.narrowed * SCALE
        return mean, scale, scale.log().sum()

    def forward(self, x, context):
        mean, scale, log_det = self._parts(context)
        return (x - mean) / scale, (-log_det).expand(len(x))

    def inverse(self, z, context):
        mean, scale, log_det = self._parts(context)
        return z * scale + mean, log_det.expand(len(z))


def exact_flow(**changes):
    """The flow of the table, in evaluation mode."""
    return Flow(Exact(**changes), make_base("normal", 2, 1.0)).eval()
