"""Fixtures of the model layer's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture
def randomize() -> Callable[[nn.Module], nn.Module]:
    """Perturb every parameter: couplings are initialised to the identity."""

    @torch.no_grad()
    def move(module: nn.Module) -> nn.Module:
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        return module.eval()

    return move


@pytest.fixture
def jacobian_log_det() -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    """log|det df/dx| of every row of x, from autograd's Jacobian."""

    def log_det(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        rows = []
        for row in x:
            jacobian = torch.autograd.functional.jacobian(function, row[None])
            size = row.numel()
            rows.append(torch.linalg.slogdet(jacobian.reshape(size, size)).logabsdet)
        return torch.stack(rows)

    return log_det
