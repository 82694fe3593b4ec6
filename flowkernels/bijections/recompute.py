"""Backpropagation without stored activations: each layer's input comes back from its output.

Gomez et al., "The Reversible Residual Network" (2017), section 3.2; what is kept of
a chain of layers is its last output, whatever their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Tensors = tuple[Tensor, ...]
Pulled = tuple[Tensor, Tensor, Tensors]


class Pull(Protocol):
    """What takes an output and its gradients back to the input.

    Args:
        z: the layer's output.
        grad_z: the gradient of z.
        grad_log_det: the gradient of the layer's log-det.
        tensors: what the layer depends on beside its input.

    Returns:
        The input, its gradient and those of `tensors`.
    """

    def __call__(
        self, z: Tensor, grad_z: Tensor, grad_log_det: Tensor, tensors: Tensors
    ) -> Pulled: ...


class Layer(NamedTuple):
    """One link of a chain: forward(x) -> (z, log_det), its way back, what it depends on."""

    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    pull: Pull
    tensors: Tensors


class Chain:
    """What a chain keeps from one run to the next.

    Attributes:
        draws: whether a layer drew random numbers in the last run; None before the first. The
            generator's state cannot be had while a CUDA graph is captured, so this is what tells
            there that it need not be brought back.
    """

    draws: bool | None = None


def trainable(module: nn.Module) -> Tensors:
    """The parameters of a module that take gradients."""
    return tuple(p for p in module.parameters() if p.requires_grad)


def keeps_activations() -> bool:
    """Whether a plain run would: not without gradients, nor in torch.compile's own plan."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def run_chain(layers: Sequence[Layer], x: Tensor, chain: Chain) -> tuple[Tensor, Tensor]:
    """The layers one after another: (z, sum of their log-dets), keeping only z.

    Gradients are those of the plain chain, of first order only. Random numbers that a
    layer draws (dropout) and autocast are in the second run what they were in the first; a
    layer that counts its calls (batch normalisation's statistics) counts two.

    Raises:
        RuntimeError: a CUDA graph is captured, and a layer draws random numbers or the chain
            has not run before.
    """
    tensors = [t for layer in layers for t in layer.tensors]
    z, log_det = _Run.apply(layers, x, chain, *tensors)  # type: ignore[no-untyped-call]
    return z, log_det


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layers: Sequence[Layer], x: Tensor, chain: Chain, *tensors: Tensor
    ) -> Any:
        ctx.layers, ctx.states, ctx.autocast = layers, [], _autocast(x.device.type)
        capturing = x.is_cuda and torch.cuda.is_current_stream_capturing()
        if capturing and chain.draws is not False:
            raise RuntimeError(
                "recompute: a CUDA graph can be captured after a first step without one, of layers "
                "that draw no random numbers (as dropout does)"
            )
        total: Tensor | None = None
        # Tensors without values draw none.
        remembers = not (capturing or x.is_meta or type(x) not in (Tensor, nn.Parameter))
        before = _random_state(x.device) if remembers else []
        for layer in layers:
            x, log_det = layer.forward(x)
            total = log_det if total is None else total + log_det
            after = _random_state(x.device) if remembers else []
            # Most layers draw nothing: there is nothing to bring back.
            drew = not all(map(torch.equal, before, after))
            ctx.states.append(before if drew else None)
            before = after
        chain.draws = any(state is not None for state in ctx.states)
        ctx.save_for_backward(x, *tensors)
        return x, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> Any:
        z, *tensors = ctx.saved_tensors
        grads: list[Tensor] = []
        drew = any(state is not None for state in ctx.states)
        with _as_it_was(z.device, ctx.autocast, drew):
            for layer, state in zip(reversed(ctx.layers), reversed(ctx.states), strict=True):
                if state is not None:
                    _set_random_state(z.device, state)
                own = tuple(tensors[len(tensors) - len(layer.tensors) :])
                del tensors[len(tensors) - len(own) :]
                z, grad_z, of_own = layer.pull(z.detach(), grad_z, grad_log_det, own)
                grads = [*of_own, *grads]
        return None, grad_z, None, *grads


def pull_by_inverse(
    forward: Callable[[Tensor], tuple[Tensor, Tensor]],
    inverse: Callable[[Tensor], tuple[Tensor, Tensor]],
) -> Pull:
    """The way back of any bijection: its inverse, then its forward once more."""

    def pull(z: Tensor, grad_z: Tensor, grad_log_det: Tensor, tensors: Tensors) -> Pulled:
        with torch.no_grad():
            x, _ = inverse(z)
        x = x.detach().requires_grad_()
        outputs = forward(x)
        grad_x, *grads = _gradients(outputs, (x, *tensors), (grad_z, grad_log_det))
        return x.detach(), grad_x, tuple(grads)

    return pull


def _gradients(outputs: Tensors, inputs: Tensors, grads: Tensors) -> Tensors:
    """The gradients of the outputs that have any; zeros where an input is not used."""
    pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.requires_grad]
    return torch.autograd.grad(
        [o for o, _ in pairs], inputs, [g for _, g in pairs], materialize_grads=True
    )


def _autocast(device: str) -> dict[str, Any] | None:
    if not torch.amp.is_autocast_available(device):
        return None
    return {
        "device_type": device,
        "enabled": torch.is_autocast_enabled(device),
        "dtype": torch.get_autocast_dtype(device),
        "cache_enabled": torch.is_autocast_cache_enabled(),
    }


def _random_state(device: torch.device) -> list[Tensor]:
    own = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *own]


def _set_random_state(device: torch.device, state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def _as_it_was(device: torch.device, autocast: dict[str, Any] | None, drew: bool) -> Iterator[None]:
    """The first run's autocast, with gradients; the random state comes back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices, enabled=drew),
        nullcontext() if autocast is None else torch.autocast(**autocast),
        torch.enable_grad(),
    ):
        yield
