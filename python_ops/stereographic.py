"""Stereographic projection between R^d and the sphere S^d, with log-dets."""

from __future__ import annotations

import torch
from torch import Tensor

from ._declaration import Inputs, declare, public
from ._fake import require
from .composite import stereographic as formulas


def _fake(z: Tensor) -> tuple[Tensor, Tensor]:
    require(
        z.ndim > 0 and z.shape[-1] > 0,
        f"`z` must have shape (..., d) with d >= 1, got {tuple(z.shape)}",
    )
    log_det = z.new_empty(z.shape[:-1], dtype=torch.promote_types(z.dtype, torch.float32))
    return z.new_empty((*z.shape[:-1], z.shape[-1] + 1)), log_det


def _fake_inverse(s: Tensor) -> tuple[Tensor, Tensor]:
    require(
        s.ndim > 0 and s.shape[-1] > 1,
        f"`s` must have shape (..., d + 1) with d >= 1, got {tuple(s.shape)}",
    )
    log_det = s.new_empty(s.shape[:-1], dtype=torch.promote_types(s.dtype, torch.float32))
    return s.new_empty((*s.shape[:-1], s.shape[-1] - 1)), log_det


_stereographic = declare(
    "stereographic",
    formula=formulas.stereographic,
    backward_formula=formulas.stereographic_backward,
    fake=_fake,
)
_stereographic_inverse = declare(
    "stereographic_inverse",
    formula=formulas.stereographic_inverse,
    backward_formula=formulas.stereographic_inverse_backward,
    fake=_fake_inverse,
)


def _plane(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    return (torch.randn(size, dtype=torch.float64) / size[-1] ** 0.5,)


def _sphere(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    return (torch.nn.functional.normalize(torch.randn(size, dtype=torch.float64), dim=-1),)


@public(
    "stereographic",
    usage="stereographic(z)",
    same=(
        "`q = z.square().sum(-1, keepdim=True); s = torch.cat([2 * z, q - 1], -1) / (1 + q); "
        "log_det = z.shape[-1] * torch.log(2 / (1 + q)).squeeze(-1)`"
    ),
    inputs=Inputs(tensors=_plane, sizes="images", dtypes=("float32", "bfloat16")),
    bijection=True,
)
def stereographic(z: Tensor) -> tuple[Tensor, Tensor]:
    r"""Projects R^d onto the sphere S^d of R^{d+1}.

    .. math:: \psi(z) = [z \rho, 1 - \rho], \quad \rho = \frac{2}{1 + |z|^2}, \quad
        \log\det = d \log \rho

    The origin goes to the south pole -e_{d+1}, |z| = 1 to the equator; the north pole
    +e_{d+1} is the missing point. Exact to rounding for every finite z.

    Args:
        z: (..., d) with d >= 1, float16, bfloat16, float32 or float64.

    Returns:
        s (..., d + 1) of unit length, in the dtype of `z`, contiguous; log_det (...) in
        nats, at least float32: the log volume element from R^d onto S^d.

    Raises:
        ValueError: for a `z` without elements along a last dimension.
        TypeError: for a dtype that is not floating.

    Source: Gemici, Rezende & Mohamed, Normalizing Flows on Riemannian Manifolds
    (arXiv 1611.02304), section 4.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> s, log_det = ops.stereographic(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
        >>> s
        tensor([[ 0.,  0., -1.],
                [ 1.,  0.,  0.]])
        >>> log_det
        tensor([1.3863, -0.0000])
    """
    out: tuple[Tensor, Tensor] = _stereographic(z)
    return out


@public(
    "stereographic_inverse",
    usage="stereographic_inverse(s)",
    same="`z = s[..., :-1] / (1 - s[..., -1:])`, and its log-det",
    inputs=Inputs(tensors=_sphere, sizes="images", dtypes=("float32",)),
    bijection=True,
)
def stereographic_inverse(s: Tensor) -> tuple[Tensor, Tensor]:
    r"""Projects the sphere S^d back onto R^d: the inverse of `stereographic`.

    .. math:: z = \frac{h}{N - l} = \frac{h (N + l)}{|h|^2}, \quad
        \log\det = d \log \frac{1 + |z|^2}{2}

    with s = [h, l] of length N. Only the direction of `s` counts: on the sphere N = 1,
    and the gradient is that of s -> s / N, tangent to the sphere.

    Args:
        s: (..., d + 1) with d >= 1, float16, bfloat16, float32 or float64.

    Returns:
        z (..., d), in the dtype of `s`, contiguous; log_det (...) in nats, at least
        float32: the negative of that of `stereographic`. At the north pole, the missing
        point, log_det is inf and z is NaN.

    Raises:
        ValueError: for an `s` with fewer than two elements along the last dimension.
        TypeError: for a dtype that is not floating.

    Source: Gemici, Rezende & Mohamed (arXiv 1611.02304), section 4.

    Example:
        >>> import torch
        >>> from flowkernels import ops
        >>> z = torch.randn(5, 3)
        >>> s, log_det = ops.stereographic(z)
        >>> back, inverse_log_det = ops.stereographic_inverse(s)
        >>> torch.allclose(back, z, rtol=1e-5), torch.allclose(inverse_log_det, -log_det, atol=1e-5)
        (True, True)
    """
    out: tuple[Tensor, Tensor] = _stereographic_inverse(s)
    return out
