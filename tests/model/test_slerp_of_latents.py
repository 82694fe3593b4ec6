"""The path `slerp` on latents: lengths, events of several dimensions, NumPy, half precision."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.testing import assert_close

from flowkernels.interpolation import get_path, slerp

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def weighted_ends(t: float, v0: Tensor, v1: Tensor, threshold: float = 0.9995) -> Tensor:
    """The usual formula of diffusion code: both ends by their weights of the arc, as they are.

    One angle for all elements; the straight line if the cosine's magnitude is above the threshold.
    """
    cosine = (v0 * v1).sum() / (v0.norm() * v1.norm())
    if cosine.abs() > threshold:
        return (1 - t) * v0 + t * v1
    angle = cosine.acos()
    return (((1 - t) * angle).sin() * v0 + (t * angle).sin() * v1) / angle.sin()


def latents(*shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    a, b = torch.randn(2, *shape, dtype=torch.float64)
    return a.to(dtype), b.to(dtype)


@pytest.mark.parametrize("t", [0.0, 0.2, 0.5, 0.9, 1.0, 1.3])
def test_equals_the_weighted_ends_at_equal_lengths(t: float) -> None:
    for cosine in (-0.999, -0.5, 0.0, 0.7, 0.999):
        a, b = latents(4, 8, 8)
        a /= a.norm()
        b -= (a * b).sum() * a
        b = cosine * a + math.sqrt(1 - cosine**2) * b / b.norm()
        found = slerp(3 * a, 3 * b, t, event_ndim=3)
        assert_close(found, weighted_ends(t, 3 * a, 3 * b), rtol=1e-11, atol=1e-12)


def test_weighted_ends_differ_by_the_lengths_only() -> None:
    """At other lengths both pass through the ends; between them ours has the mean length."""
    a, b = latents(50)
    a, b = 2 * a / a.norm(), 5 * b / b.norm()
    for t in (0.0, 1.0):
        assert_close(slerp(a, b, t), weighted_ends(t, a, b))
    assert_close(slerp(a, b, 0.5).norm().item(), 3.5)
    assert_close(slerp(a, b, 0.5), 3.5 * torch.nn.functional.normalize(a / 2 + b / 5, dim=0))
    assert abs(weighted_ends(0.5, a, b).norm().item() - 3.5) > 0.05


def test_small_angles_need_no_threshold() -> None:
    """The straight line that replaces the arc there is off by up to angle^2 / 8 of the length."""
    angle = 0.03
    a = torch.tensor([1.0, 0.0], dtype=torch.float64)
    b = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    middle = slerp(a, b, 0.5)
    assert_close(middle, torch.tensor([math.cos(angle / 2), math.sin(angle / 2)]).double())
    short = 1 - weighted_ends(0.5, a, b).norm().item()
    assert short == pytest.approx(angle**2 / 8, rel=1e-3)


def test_equal_and_opposite_vectors() -> None:
    a, _ = latents(2, 3, 5)
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    assert_close(slerp(a, a, t, event_ndim=2), a[:, None].expand(2, 5, 3, 5))
    assert_close(slerp(a, 2 * a, t, event_ndim=2), a[:, None] * (1 + t[:, None, None]))
    opposite = slerp(a, -3 * a, t, event_ndim=2)
    assert_close(opposite[:, 0], a)
    assert_close(opposite[:, -1], -3 * a)
    # Half way the point is at a right angle, and as long as the mean of both.
    length = a.flatten(1).norm(dim=1)
    assert_close(opposite[:, 2].flatten(1).norm(dim=1), 2 * length)
    assert_close((opposite[:, 2] * a).sum((1, 2)), torch.zeros(2).double(), rtol=0, atol=1e-12)
    assert weighted_ends(0.5, a[0], -a[0]).norm() == 0  # the line through the origin


def test_zero_vectors_leave_the_straight_line() -> None:
    a, b = latents(3, 4)
    a[0], b[1] = 0, 0
    t = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    found = slerp(a, b, t[:, 0])
    assert_close(found[0], t * b[0])
    assert_close(found[1], (1 - t) * a[1])
    assert_close(found[2], slerp(a[2], b[2], t[:, 0]))
    assert torch.equal(slerp(torch.zeros(4), torch.zeros(4), 0.3), torch.zeros(4))


def test_a_zero_vector_under_vmap_and_compile() -> None:
    a, b = latents(3, 4)
    a[0] = 0
    want = slerp(a, b, 0.25)
    assert_close(torch.vmap(lambda a, b: slerp(a, b, 0.25))(a, b), want)
    compiled = torch.compile(slerp, fullgraph=True, backend="aot_eager")
    assert_close(compiled(a, b, 0.25), want)


def test_gradients() -> None:
    a, b = (v.requires_grad_() for v in latents(2, 3, 2))
    t = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda a, b, t: slerp(a, b, t, event_ndim=2), (a, b, t))


def test_gradient_at_a_zero_vector_is_that_of_the_other_end() -> None:
    a, b = torch.zeros(4, requires_grad=True), torch.randn(4, requires_grad=True)
    slerp(a, b, 0.3).sum().backward()
    assert a.grad is not None and b.grad is not None
    assert torch.equal(a.grad, torch.zeros(4))
    assert_close(b.grad, torch.full((4,), 0.3))


@pytest.mark.parametrize("event_ndim", [1, 2, 3, 4])
def test_events_of_several_dimensions(event_ndim: int) -> None:
    a, b = latents(2, 4, 3, 5)
    batch, event = a.shape[: 4 - event_ndim], a.shape[4 - event_ndim :]
    flat = slerp(a.reshape(*batch, -1), b.reshape(*batch, -1), 0.3)
    assert_close(slerp(a, b, 0.3, event_ndim=event_ndim), flat.reshape(a.shape))
    t = torch.linspace(0, 1, 7, dtype=torch.float64)
    found = slerp(a, b, t, event_ndim=event_ndim)
    assert found.shape == (*batch, 7, *event)
    assert_close(slerp(a, b, t.expand(*batch, 7), event_ndim=event_ndim), found)
    assert_close(found.select(len(batch), -1), b)


def test_a_fraction_for_each_row() -> None:
    a, b = latents(3, 4, 2, 2)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    found = slerp(a, b, t[:, None], event_ndim=3).squeeze(1)
    for row in range(3):
        assert_close(found[row], slerp(a[row], b[row], t[row].item(), event_ndim=3))


def test_memory_layouts() -> None:
    a, b = latents(2, 4, 6, 6)
    want = slerp(a, b, 0.4, event_ndim=3)
    last = torch.channels_last
    strided = a.contiguous(memory_format=last), b.contiguous(memory_format=last)
    assert_close(slerp(*strided, 0.4, event_ndim=3), want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(dtype: torch.dtype) -> None:
    a, b = latents(3, 4, 8, 8, dtype=dtype)
    t = torch.linspace(0, 1, 3, dtype=dtype)
    found = slerp(a, b, t, event_ndim=3)
    assert found.dtype == dtype
    want = slerp(a.double(), b.double(), t.double(), event_ndim=3)
    # Half precision rounds once, at the end.
    eps = torch.finfo(dtype).eps
    tolerance = eps if dtype in DTYPES[:2] else 8 * eps
    assert_close(found.double(), want, rtol=tolerance, atol=tolerance)


def test_float16_keeps_the_digits_of_small_elements_of_long_vectors() -> None:
    """Their unit vectors have elements below the smallest normal number of float16."""
    a, b = (v.half() for v in torch.randn(2, 2**20))
    a[:8] = b[:8] = 0.01
    want = slerp(a.double(), b.double(), 0.5)
    assert_close(slerp(a, b, 0.5).double()[:8], want[:8], rtol=1e-3, atol=0)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_arrays(dtype: type[np.floating]) -> None:
    a, b = (v.numpy().astype(dtype) for v in latents(2, 3, 4))
    for t in (0.3, np.float32(0.3), np.linspace(0, 1, 5), [0.0, 0.5]):
        found = slerp(a, b, t, event_ndim=2)
        assert isinstance(found, np.ndarray) and found.dtype == dtype
        given = torch.as_tensor(t, dtype=torch.float64) if isinstance(t, np.ndarray) else t
        want = slerp(torch.from_numpy(a), torch.from_numpy(b), given, event_ndim=2)
        assert np.array_equal(found, want.numpy())


def test_arrays_that_torch_does_not_take() -> None:
    a, b = (v.numpy() for v in latents(3, 4))
    want = slerp(a, b, 0.3)
    read_only = a.copy()
    read_only.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(slerp(read_only, b, 0.3), want)
    assert np.array_equal(slerp(a[::-1], b[::-1], 0.3), want[::-1])
    assert np.array_equal(slerp(a.astype(">f8"), b, 0.3), want)


@pytest.mark.parametrize("shape", [(0, 4), (0, 2, 3), (5, 0, 3)])
def test_empty_batches(shape: tuple[int, ...]) -> None:
    a, b = torch.randn(2, *shape)
    assert slerp(a, b, 0.5).shape == shape
    assert slerp(a, b, torch.rand(6)).shape == (*shape[:-1], 6, shape[-1])


def test_refusals() -> None:
    a = torch.randn(2, 3)
    with pytest.raises(ValueError, match=r"slerp: a and b must have the same shape .*\(2, 3\) and"):
        slerp(a, torch.randn(2, 4), 0.5)
    with pytest.raises(ValueError, match=r"at least event_ndim = 3 dimensions, got \(2, 3\)"):
        slerp(a, a, 0.5, event_ndim=3)
    with pytest.raises(ValueError, match=r"slerp: event_ndim must be at least 1, got 0"):
        slerp(a, a, 0.5, event_ndim=0)
    with pytest.raises(TypeError, match=r"slerp: b must be a NumPy array, .* got Tensor"):
        slerp(a.numpy(), a, 0.5)  # type: ignore[type-var]
    with pytest.raises(TypeError, match=r"slerp: a must be float16, .* got int64"):
        slerp(np.arange(3), np.arange(3), 0.5)
    with pytest.raises(TypeError, match=r"slerp: a must be floating point, got torch.int64"):
        slerp(torch.arange(3), torch.arange(3), 0.5)
    with pytest.raises(
        ValueError, match=r"t must be a number, .* batch \(2,\), got shape \(5, 3\)"
    ):
        slerp(a, a, torch.rand(5, 3))


def test_is_the_registered_path() -> None:
    assert get_path("slerp") is slerp
