"""Backpropagation without stored activations: recompute each layer's input from its output.

Gomez et al., "The Reversible Residual Network" (2017), section 3.2. A chain of layers stores
only its last output, for any number of layers.
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
    """Computes a layer's input and its gradients from the output and its gradients.

    Args:
        z: the layer's output.
        grad_z: the gradient of z.
        grad_log_det: the gradient of the layer's log-det.
        tensors: the other tensors that the layer depends on.

    Returns:
        The input, its gradient and those of `tensors`.
    """

    def __call__(
        self, z: Tensor, grad_z: Tensor, grad_log_det: Tensor, tensors: Tensors
    ) -> Pulled: ...


class Layer(NamedTuple):
    """A layer of a chain: forward(x) -> (z, log_det), its pullback, the tensors it depends on."""

    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    pull: Pull
    tensors: Tensors


class Chain:
    """State of a chain between runs.

    Attributes:
        uses_rng: whether a layer drew random numbers in the last run; None before the first. The
            generator's state cannot be read during CUDA graph capture, so capture requires False.
    """

    uses_rng: bool | None = None


def trainable(module: nn.Module) -> Tensors:
    """The parameters of a module that require gradients."""
    return tuple(p for p in module.parameters() if p.requires_grad)


def keeps_activations() -> bool:
    """Whether a plain run would store activations: gradients are on, torch.compile is off."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling()


def run_chain(layers: Sequence[Layer], x: Tensor, chain: Chain) -> tuple[Tensor, Tensor]:
    """Apply the layers in order: (z, sum of their log-dets), storing only z.

    Gradients equal those of the plain chain, first order only. The recomputation repeats the
    random numbers of the first run (dropout) and its autocast state. A layer that counts its
    calls (batch normalisation's statistics) counts each call twice.

    Raises:
        RuntimeError: a CUDA graph is being captured, and a layer draws random numbers or the
            chain has not run before.
    """
    tensors = [t for layer in layers for t in layer.tensors]
    z, log_det = _ChainFunction.apply(layers, x, chain, *tensors)  # type: ignore[no-untyped-call]
    return z, log_det


class _ChainFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, layers: Sequence[Layer], x: Tensor, chain: Chain, *tensors: Tensor
    ) -> Any:
        ctx.layers, ctx.states, ctx.autocast = layers, [], _autocast(x.device.type)
        capturing = x.is_cuda and torch.cuda.is_current_stream_capturing()
        if capturing and chain.uses_rng is not False:
            raise RuntimeError(
                "recompute: run one step before capturing a CUDA graph; layers that draw random "
                "numbers (dropout) cannot be captured"
            )
        total: Tensor | None = None
        # Tensors without values (meta, fake) draw no random numbers.
        tracks_rng = not (capturing or x.is_meta or type(x) not in (Tensor, nn.Parameter))
        before = _random_state(x.device) if tracks_rng else []
        for layer in layers:
            x, log_det = layer.forward(x)
            total = log_det if total is None else total + log_det
            after = _random_state(x.device) if tracks_rng else []
            # Most layers draw no random numbers and need no saved state.
            drew = not all(map(torch.equal, before, after))
            ctx.states.append(before if drew else None)
            before = after
        chain.uses_rng = any(state is not None for state in ctx.states)
        ctx.save_for_backward(x, *tensors)
        return x, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_z: Tensor, grad_log_det: Tensor) -> Any:
        z, *tensors = ctx.saved_tensors
        grads: list[Tensor] = []
        drew = any(state is not None for state in ctx.states)
        with _restored_context(z.device, ctx.autocast, drew):
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
    """The pullback of any bijection: run its inverse, then its forward with gradients."""

    def pull(z: Tensor, grad_z: Tensor, grad_log_det: Tensor, tensors: Tensors) -> Pulled:
        with torch.no_grad():
            x, _ = inverse(z)
        x = x.detach().requires_grad_()
        outputs = forward(x)
        grad_x, *grads = _gradients(outputs, (x, *tensors), (grad_z, grad_log_det))
        return x.detach(), grad_x, tuple(grads)

    return pull


def _gradients(outputs: Tensors, inputs: Tensors, grads: Tensors) -> Tensors:
    """Gradients through the outputs that require them; zeros for unused inputs."""
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
def _restored_context(
    device: torch.device, autocast: dict[str, Any] | None, drew: bool
) -> Iterator[None]:
    """Autocast as in the first run, gradients on; restores the random state afterwards."""
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices, enabled=drew),
        nullcontext() if autocast is None else torch.autocast(**autocast),
        torch.enable_grad(),
    ):
        yield
