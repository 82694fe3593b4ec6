"""A Glow in plain torch with the same map, parameters and networks as ours."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from flowkernels.bijections import GlowStep, GlowSteps
from flowkernels.flows import Flow

from . import plain


class PlainStep(nn.Module):
    """Actnorm, 1x1 convolution (PLU) and affine coupling in plain torch."""

    def __init__(self, step: GlowStep) -> None:
        super().__init__()
        norm, conv = step.mix.actnorm, step.mix.conv
        self.log_scale, self.bias = copy.deepcopy(norm.log_scale), copy.deepcopy(norm.bias)
        self.lu, self.log_diag = copy.deepcopy(conv.lu), copy.deepcopy(conv.log_diag)
        self.register_buffer("permutation", conv.permutation.clone())
        self.register_buffer("sign", conv.sign.clone())
        self.register_buffer("eye", torch.eye(len(conv.sign), device=conv.sign.device))
        self.network = copy.deepcopy(step.coupling.conditioner)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(z, log_det)"""
        x = (x + self.bias[:, None, None]) * self.log_scale.exp()[:, None, None]
        lower = self.lu.tril(-1) + self.eye
        upper = self.lu.triu(1) + torch.diag(self.sign * self.log_diag.exp())
        x = F.conv2d(x, (self.permutation @ lower @ upper)[:, :, None, None])
        constant = x[0, 0].numel() * (self.log_scale.sum() + self.log_diag.sum())
        z, log_det = plain.affine_coupling_split(x, self.network(x.chunk(2, dim=1)[0]))
        return z, log_det + constant


class PlainGlow(nn.Module):
    """A copy of one of our Glows, with a normal base and real-valued images."""

    def __init__(self, flow: Flow) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.ModuleList(PlainStep(step) for step in steps.steps)  # type: ignore[arg-type]
            for steps in flow.modules()
            if isinstance(steps, GlowSteps)
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of images (B, C, H, W), in nats."""
        total = x.new_zeros(len(x))
        for i, level in enumerate(self.levels):
            x = F.pixel_unshuffle(x, 2)
            for step in level:  # type: ignore[union-attr]
                x, log_det = step(x)
                total = total + log_det
            if i + 1 < len(self.levels):
                leaves, x = x.chunk(2, dim=1)
                total = total + _normal(leaves)
        return total + _normal(x)


def _normal(z: Tensor) -> Tensor:
    z = z.flatten(1)
    return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))
