"""slerp and its gradients against 60-digit arithmetic, at every angle.

The truth is the textbook form, sin((1-t) w)/sin(w) a + sin(t w)/sin(w) b with w from an
arc cosine, which is as good as any with that many digits.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mp, mpf
from torch import Tensor

from flowkernels import ops
from flowkernels.ops import reference

NEAR_0 = [10.0**-k for k in range(6, 0, -1)] + [0.3]
NEAR_PI = [np.pi - 10.0**-k for k in range(2, 6)]
ANGLES = [*NEAR_0, "random", *NEAR_PI]
FRACTIONS = [0.0, 1e-4, 0.25, 0.5, 0.7, 0.999, 1.0]
# (value, gradient) in float32 and float64; gradients relative to their largest element.
GATES = {torch.float32: (1e-6, 1e-5), torch.float64: (1e-15, 1e-14)}

each_dtype = pytest.mark.parametrize("dtype", GATES, ids=lambda d: str(d).split(".")[1])
each_dim = pytest.mark.parametrize("dim", [2, 3, 16, 128, 785])


def pairs(dim: int, angle: float | str, count: int = 3, lengths: bool = False) -> Tensor:
    """(2, count, dim) unit vectors at the angle, in float64."""
    g = torch.Generator().manual_seed(dim)
    a, b = torch.nn.functional.normalize(
        torch.randn(2, count, dim, dtype=torch.float64, generator=g), dim=-1
    )
    if angle != "random":
        assert isinstance(angle, float)
        across = torch.nn.functional.normalize(b - a * (a * b).sum(-1, keepdim=True), dim=-1)
        b = a * np.cos(angle) + across * np.sin(angle)
    return torch.stack([a * 3.7, b * 0.3] if lengths else [a, b])


class Truth:
    """One pair in 60 digits."""

    def __init__(self, a: Tensor, b: Tensor) -> None:
        a_, b_ = (np.array([mpf(x) for x in v.tolist()]) for v in (a, b))
        self.length_a, self.length_b = (mpmath.sqrt(mp.fdot(v, v)) for v in (a_, b_))
        self.a, self.b = a_ / self.length_a, b_ / self.length_b
        self.cosine = mp.fdot(self.a, self.b)
        self.omega = mpmath.acos(self.cosine)

    def weight(self, t: mpf) -> mpf:
        return mpmath.sin(t * self.omega) / mpmath.sin(self.omega)

    def slope(self, t: mpf) -> mpf:
        """d weight / d cosine."""
        w, s, c = self.omega, mpmath.sin(self.omega), mpmath.cos(self.omega)
        return -(t * mpmath.cos(t * w) * s - mpmath.sin(t * w) * c) / s**3

    def value(self, t: float) -> np.ndarray:
        t = mpf(t)
        return (self.a * self.weight(1 - t) + self.b * self.weight(t)).astype(np.float64)

    def gradients(self, t: float, g: Tensor) -> tuple[np.ndarray, np.ndarray, float]:
        t, u = mpf(t), 1 - mpf(t)
        g_ = np.array([mpf(x) for x in g.tolist()])
        ga, gb = mp.fdot(g_, self.a), mp.fdot(g_, self.b)
        turn = self.slope(u) * ga + self.slope(t) * gb
        grad_a, grad_b = self.weight(u) * g_ + turn * self.b, self.weight(t) * g_ + turn * self.a
        grad_a = (grad_a - self.a * mp.fdot(grad_a, self.a)) / self.length_a
        grad_b = (grad_b - self.b * mp.fdot(grad_b, self.b)) / self.length_b
        w, s = self.omega, mpmath.sin(self.omega)
        grad_t = w * (gb * mpmath.cos(t * w) - ga * mpmath.cos(u * w)) / s
        return grad_a.astype(np.float64), grad_b.astype(np.float64), float(grad_t)


def relative(got: Tensor, want: np.ndarray) -> float:
    return float(np.abs(got.double().numpy() - want).max() / np.abs(want).max())


def errors(ab: Tensor, dtype: torch.dtype, call=ops.slerp) -> tuple[float, float]:
    """The largest errors of values and of gradients over pairs and fractions."""
    a, b = (v.to(dtype).requires_grad_() for v in ab)
    fractions = torch.tensor(FRACTIONS, dtype=dtype)
    g = torch.linspace(-1, 1, a.numel(), dtype=torch.float64).mul(9).sin().reshape(a.shape)
    g = g.to(dtype)
    value_error = gradient_error = 0.0
    with mp.workdps(60):
        truths = [Truth(x, y) for x, y in zip(a.detach(), b.detach(), strict=True)]
        for t in fractions:
            t.requires_grad_()
            y = call(a, b, t)
            grads = torch.autograd.grad(y, (a, b, t), g)
            want_t = 0.0
            for k, truth in enumerate(truths):
                value = truth.value(float(t))
                value_error = max(value_error, float(np.abs(y[k].double().detach() - value).max()))
                grad_a, grad_b, grad_t = truth.gradients(float(t), g[k])
                want_t += grad_t
                size = max(np.abs(grad_a).max(), np.abs(grad_b).max(), 1e-3)
                for got, want in ((grads[0][k], grad_a), (grads[1][k], grad_b)):
                    assert got.isfinite().all()
                    error = float(np.abs(got.double().numpy() - want).max() / size)
                    gradient_error = max(gradient_error, error)
            gradient_error = max(gradient_error, abs(float(grads[2]) - want_t) / len(truths))
    return value_error, gradient_error


@each_dim
@each_dtype
@pytest.mark.parametrize("angle", ANGLES, ids=str)
def test_values_and_gradients_at_every_angle(angle, dtype, dim) -> None:
    value, gradient = errors(pairs(dim, angle, 2), dtype)
    allowed_value, allowed_gradient = GATES[dtype]
    assert value <= allowed_value
    assert gradient <= allowed_gradient
