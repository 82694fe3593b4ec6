"""Maps that prepare data for a flow, with their log-dets."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from flowkernels import arguments
from flowkernels.synchronization import has_values, readable_without_sync

from .base import Bijection, check_batch, constant_log_det, sum_event


class Dequantize(Bijection):
    """Uniform dequantisation: level k in {0, ..., levels-1} -> (k + u) / levels, u ~ U[0, 1).

    log_det = -D log(levels), D values per row. With a density p on [0, 1]^D,
    log p((x + u) / levels) - D log(levels) is an unbiased one-sample estimate
    of a lower bound on log P(x) (Theis et al. 2016, eq. 3). ``inverse`` is
    floor(levels z), clamped to the levels, in z's dtype; its gradient is 0.

    Args:
        levels: 256 for 8-bit images.
        noise: False uses the bins' centres, u = 1/2.

    Shapes:
        x (B, *event), uint8 or integers in another dtype; z of the same shape, in x's
        dtype if that is floating point, otherwise in the default dtype.

    Raises:
        ValueError: x is on the CPU and holds a value other than the levels 0, ..., levels-1.
            On a GPU and under ``torch.compile`` this check would need a host
            synchronization; z is NaN at such values.

    Example:
        >>> z, log_det = Dequantize(noise=False)(torch.tensor([[0, 255]], dtype=torch.uint8))
        >>> z.tolist()
        [[0.001953125, 0.998046875]]
    """

    def __init__(self, levels: int = 256, noise: bool = True) -> None:
        super().__init__()
        owner = type(self).__name__
        self.levels = arguments.integer(owner, "levels", levels, 2)
        self.noise = arguments.flag(owner, "noise", noise)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        level = self._level(x)
        return self._spread(x, level, torch.rand_like(level) if self.noise else 0.5)

    def centre(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`forward` at the bins' centres: deterministic, and ``inverse`` returns x exactly."""
        return self._spread(x, self._level(x), 0.5)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        check_batch(type(self).__name__, z)
        level = (z * self.levels).floor().clamp(0, self.levels - 1)
        return level, constant_log_det(z, z[0:1].numel() * math.log(self.levels))

    def _level(self, x: Tensor) -> Tensor:
        """The checked levels of x, at least in float32; NaN for what is none."""
        check_batch(type(self).__name__, x)
        # Half precision cannot represent a level plus a fraction.
        level = x.to(torch.promote_types(self._dtype(x), torch.float32))
        if x.dtype == torch.uint8 and self.levels >= 256:
            return level
        within = self._within(x)
        return level if within is None else torch.where(within, level, math.nan)

    def _dtype(self, x: Tensor) -> torch.dtype:
        """Of z, for x."""
        return x.dtype if x.is_floating_point() else torch.get_default_dtype()

    def _spread(self, x: Tensor, level: Tensor, u: Tensor | float) -> tuple[Tensor, Tensor]:
        """z, and the log-det of the map at a given u."""
        z = ((level + u) / self.levels).to(self._dtype(x))
        return z, constant_log_det(z, -x[0:1].numel() * math.log(self.levels))

    def _within(self, x: Tensor) -> Tensor | None:
        """Mask of valid levels; on the CPU, None if all are valid, otherwise ValueError."""
        right = (x >= 0) & (x < self.levels) & (x == x.floor())
        if not readable_without_sync(right):
            return right
        if not right.all():
            wrong = x[~right]
            hint = " (images scaled to [0, 1]? multiply by 255)" if x.max() <= 1 else ""
            raise ValueError(
                f"{type(self).__name__}: x must hold whole levels 0, ..., {self.levels - 1}, "
                f"got {wrong[0].item():.6g}{hint}"
            )
        return None

    def extra_repr(self) -> str:
        return f"levels={self.levels}, noise={self.noise}"


class Logit(Bijection):
    """[0, 1] -> R by z = logit(y), y = alpha + (1 - 2 alpha) x, elementwise.

    log_det = sum log(1 - 2 alpha) - log y - log(1 - y). alpha > 0 keeps z
    bounded for x at 0 and 1 (Real NVP 2017, section 4.1).

    Args:
        alpha: 0 <= alpha < 1/2.

    Example:
        >>> z, _ = Logit()(torch.tensor([[0.0, 0.5, 1.0]]))
        >>> [round(v, 3) for v in z[0].tolist()]
        [-2.944, 0.0, 2.944]
    """

    def __init__(self, alpha: float = 0.05) -> None:
        super().__init__()
        if not 0 <= arguments.number("Logit", "alpha", alpha) < 0.5:
            raise ValueError(f"Logit: alpha must be in [0, 1/2), got {alpha}")
        self.alpha = alpha

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        check_batch("Logit", x)
        # log(y) - log(1 - y) from x and 1 - x: torch.logit(y) is inaccurate for y near 1.
        width = 1 - 2 * self.alpha
        log_y = (self.alpha + width * x).log()
        log_rest = (self.alpha + width * (1 - x)).log()
        return log_y - log_rest, sum_event(math.log(width) - log_y - log_rest)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        check_batch("Logit", z)
        width = 1 - 2 * self.alpha
        log_det = sum_event(-F.softplus(z) - F.softplus(-z) - math.log(width))
        return (z.sigmoid() - self.alpha) / width, log_det

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class Standardize(Bijection):
    """z = (x - loc) / scale, elementwise on (B, *event); log_det = -sum log scale.

    The numbers are fixed: they are buffers, saved with the flow, and :meth:`of` takes them from
    data. Unlike an :class:`ActNorm` it needs no first batch, and has numbers for each element of
    the event, not for each channel.

    Args:
        loc: (*event).
        scale: positive, of a shape that broadcasts to that of loc.

    Raises:
        ValueError: shapes do not fit, also that of an input; loc or scale is not finite, or
            scale not positive.

    Example:
        >>> x = torch.tensor([[1.0, 10.0], [3.0, 50.0]])
        >>> z, log_det = Standardize(torch.tensor([2.0, 30.0]), torch.tensor([1.0, 20.0]))(x)
        >>> z.tolist()
        [[-1.0, -1.0], [1.0, 1.0]]
        >>> [round(v, 4) for v in log_det.tolist()]  # -log 20
        [-2.9957, -2.9957]
    """

    reversible = True

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor, scale: Tensor) -> None:
        super().__init__()
        for name, value in (("loc", loc), ("scale", scale)):
            arguments.floating_tensor("Standardize", name, value)
        try:
            scale = scale.expand(loc.shape)
        except RuntimeError:
            raise ValueError(
                f"Standardize: scale must have a shape that broadcasts to {tuple(loc.shape)}, that "
                f"of loc, got {tuple(scale.shape)}"
            ) from None
        if has_values(loc) and not loc.isfinite().all():
            raise ValueError("Standardize: loc must be finite, got nan or inf")
        if has_values(scale) and not ((scale > 0) & scale.isfinite()).all():
            wrong = scale[~((scale > 0) & scale.isfinite())][0]
            raise ValueError(f"Standardize: scale must be positive and finite, got {wrong:.6g}")
        self.register_buffer("loc", loc.detach().clone())
        self.register_buffer("scale", scale.detach().to(loc).clone())

    @classmethod
    def of(cls, data: Tensor, *, shared: bool = False) -> Standardize:
        """The map that gives `data` mean 0 and variance 1; what is constant keeps scale 1.

        Args:
            data: (N, *event), N at least 1, floating point.
            shared: one loc and scale for all elements of the event, as for series and images,
                instead of one for each.

        Raises:
            ValueError: the data are empty, not finite or without values.

        Example:
            >>> x = 5 + 3 * torch.randn(1000, 2)
            >>> z, _ = Standardize.of(x)(x)
            >>> bool(z.mean(0).abs().max() < 1e-5), bool((z.std(0) - 1).abs().max() < 1e-3)
            (True, True)
        """
        arguments.floating_tensor("Standardize", "data", data)
        arguments.flag("Standardize", "shared", shared)
        if data.ndim < 1 or not data.numel() or not has_values(data):
            without = "" if has_values(data) else " without values"
            raise ValueError(
                "Standardize: data must have shape (N, *event) and values, got "
                f"{tuple(data.shape)}{without}"
            )
        if not data.isfinite().all():
            raise ValueError("Standardize: data must be finite, got nan or inf")
        exact = data.detach().double()
        over = tuple(range(exact.ndim)) if shared else (0,)
        loc = exact.mean(over)
        std = (exact - exact.mean(over, keepdim=True)).square().mean(over).sqrt()
        # Below the spacing of the data's numbers, or the rounding of the mean, nothing varies.
        limits = torch.finfo(data.dtype)
        least = max(limits.eps, 1e-12) * loc.abs() + limits.tiny
        std = torch.where(std > least, std, 1.0)
        event = data.shape[1:]
        return cls(loc.to(data.dtype).expand(event), std.to(data.dtype).expand(event))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self._check("x", x)
        return (x - self.loc) / self.scale, self._log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        self._check("z", z)
        return z * self.scale + self.loc, -self._log_det(z)

    def _check(self, name: str, x: Tensor) -> None:
        check_batch("Standardize", x)
        shape = torch.Size((*x.shape[:1], *self.loc.shape))
        if x.shape != shape:
            expected = ", ".join(map(str, ("B", *self.loc.shape)))
            raise ValueError(
                f"Standardize: {name} must have shape ({expected}), got {tuple(x.shape)}"
            )

    def _log_det(self, x: Tensor) -> Tensor:
        dtype = torch.promote_types(self.scale.dtype, torch.float32)
        return constant_log_det(x, -self.scale.to(dtype).log().sum())

    def extra_repr(self) -> str:
        return f"event_shape={tuple(self.loc.shape)}"
