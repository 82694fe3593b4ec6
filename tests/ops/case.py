"""The vocabulary of the shared checker: an op's case and its samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

# Error allowed, in units in the last place of the output's dtype, relative to the
# larger of an element and the tensor's largest element.
ULPS = {torch.float64: 256.0, torch.float32: 48.0, torch.float16: 2.0, torch.bfloat16: 2.0}
ALL_DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@dataclass
class Sample:
    """Arguments of one call: tensors first, then options by name."""

    label: str
    tensors: tuple[Tensor, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def to(self, dtype: torch.dtype) -> Sample:
        """The same values, rounded to `dtype`."""
        return Sample(self.label, tuple(t.detach().to(dtype) for t in self.tensors), self.options)

    def on(self, device: str) -> Sample:
        """The same values on a device."""
        options = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.options.items()}
        return Sample(self.label, tuple(t.to(device) for t in self.tensors), options)

    def leaves(self) -> Sample:
        """The same values as leaves that require gradients."""
        leaves = tuple(t.detach().clone().requires_grad_() for t in self.tensors)
        return Sample(self.label, leaves, self.options)


@dataclass
class Bad:
    """A call that must raise: what it raises and what the message must mention."""

    label: str
    call: Callable[[], Any]
    error: type[Exception]
    mentions: Sequence[str]


@dataclass
class Case:
    """What the checker needs to know of an op.

    op          name of the dispatcher's op (flowkernels::<op>)
    call        the public function
    reference   its definition in plain torch
    samples     float64 samples for parity: odd sizes, several ranks, every option
    small       few tiny float64 samples for gradient checks and transforms
    empty       samples with an empty batch
    bad         calls that must raise
    bijection   whether the outputs are a map of the first tensor and its log-det
    views       whether the outputs are views of the first tensor
    constants   arguments in the op's schema whose gradient is refused
    rounds_inside  whether results between its steps are rounded to the input's dtype, which
                then limits the accuracy of outputs of higher precision, too
    arguments   what the dispatcher takes for a sample, of an op that consists of torch's own
    ulps        overrides of ULPS, with the reason beside them
    name        of the public op, where that is not the dispatcher's
    """

    op: str
    call: Callable[..., Any]
    reference: Callable[..., Any]
    samples: Callable[[], list[Sample]]
    small: Callable[[], list[Sample]]
    empty: Callable[[], list[Sample]]
    bad: Callable[[], list[Bad]]
    bijection: bool = False
    views: bool = False
    rounds_inside: bool = False
    constants: tuple[str, ...] = ()
    arguments: Callable[[Sample], tuple[Any, ...]] | None = None
    ulps: dict[torch.dtype, float] = field(default_factory=dict)
    name: str = ""

    def __str__(self) -> str:
        return "-".join(dict.fromkeys(filter(None, (self.op, self.name))))

    def tolerance(self, dtype: torch.dtype) -> float:
        """The error allowed in outputs of a dtype, relative to the largest of them."""
        return (self.ulps.get(dtype) or ULPS[dtype]) * torch.finfo(dtype).eps

    def outputs(self, function: Callable[..., Any], sample: Sample) -> tuple[Tensor, ...]:
        """The outputs of a call, always as a tuple."""
        out = function(*sample.tensors, **sample.options)
        return out if isinstance(out, tuple) else (out,)


@dataclass
class Trial:
    """A sample of a case."""

    case: Case
    sample: Sample

    def __str__(self) -> str:
        return f"{self.case}-{self.sample.label}"


def cotangents(outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Fixed and irregular, and nothing random: they are made inside transforms too."""
    return tuple(
        (torch.arange(o.numel(), dtype=torch.float64, device=o.device) + 0.5)
        .sin()
        .reshape(o.shape)
        .to(o.dtype)
        for o in outputs
    )


def strided_variants(t: Tensor) -> list[tuple[str, Tensor]]:
    """The same values in other layouts of memory."""
    variants = []
    padded = t.new_full((*t.shape[:-1], t.shape[-1] + 3), float("nan"))
    padded[..., 2:-1] = t
    variants.append(("sliced", padded[..., 2:-1]))
    if t.ndim >= 2:
        order = list(range(t.ndim))[::-1]
        variants.append(("transposed", t.permute(order).contiguous().permute(order)))
    if t.ndim == 4:
        variants.append(("channels_last", t.contiguous(memory_format=torch.channels_last)))
    gaps = t.new_full((*t.shape, 2), float("nan"))
    gaps[..., 0] = t
    variants.append(("every_second", gaps[..., 0]))
    variants.append(("negated_view", torch._neg_view(-t)))
    return variants
