"""The parameters of a module in one tensor, for optimizers that visit tensors one by one.

Without its fused or multi-tensor form, which are not the default on the CPU, Adam takes about 20
microseconds for each tensor, however small. A small flow has 50 tensors, and its optimizer would
take longer than its forward and backward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from flowkernels.bijections import MaskedLinear

__all__ = ["PackedParameters"]


class PackedParameters(nn.Module):
    """One parameter, `weights`, with all trainable parameters of a module.

    The module's own parameters keep their names, shapes and values, as views of `weights` that
    require no gradient: reading, saving and loading them works as before. While :meth:`unpacked`
    runs, parts of `weights` stand in for them, so that gradients reach `weights`; a module that
    runs again in its backward pass, to recompute activations, would not see them. Saved are the
    module's parameters alone.

    Args:
        module: its parameters must have one dtype and device. They change as described.

    Attributes:
        weights: (N,), what an optimizer updates.

    Example:
        >>> module = nn.Linear(2, 3)
        >>> packed = PackedParameters(module)
        >>> with packed.unpacked():
        ...     loss = module(torch.ones(1, 2)).sum()
        >>> loss.backward()
        >>> packed.weights.grad.tolist()
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
        >>> _ = packed.weights.data.zero_()
        >>> module.weight.tolist()
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    """

    mask: Tensor | None

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # Where each parameter stands: the module's dictionary, its key there, and itself.
        self._places: list[tuple[dict[str, Any], str, nn.Parameter]] = [
            (each._parameters, name, parameter)
            for each in module.modules()
            for name, parameter in each._parameters.items()
            if parameter is not None and parameter.requires_grad
        ]
        own = [parameter for _, _, parameter in self._places]
        if not own or len({id(parameter) for parameter in own}) < len(own):
            raise ValueError(
                "PackedParameters: module must have trainable parameters, none of them shared by "
                f"two of its modules, got {type(module).__name__}"
            )
        self._sizes = [parameter.numel() for parameter in own]
        self.weights = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in own]))
        self._masked = [each for each in module.modules() if isinstance(each, MaskedLinear)]
        self.register_buffer("mask", self._mask() if self._masked else None, persistent=False)
        self._link()

    @contextmanager
    def unpacked(self) -> Iterator[None]:
        """Parts of `weights` in place of the module's parameters, if a gradient is wanted."""
        self._take_replaced()
        if not (torch.is_grad_enabled() and self.weights.requires_grad):
            yield
            return
        # One product for all masked layers.
        weights = self.weights if self.mask is None else self.weights * self.mask
        parts = weights.split(self._sizes)
        try:
            self._set_premasked(True)
            for (place, name, parameter), part in zip(self._places, parts, strict=True):
                place[name] = part if parameter.ndim == 1 else part.view(parameter.shape)
            yield
        finally:
            self._set_premasked(False)
            for place, name, parameter in self._places:
                place[name] = parameter

    def _mask(self) -> Tensor:
        """The masks of masked layers' weights, else 1."""
        masks = {id(layer.weight): layer.mask for layer in self._masked}
        return torch.cat(
            [masks.get(id(own), torch.ones_like(own)).flatten() for _, _, own in self._places]
        )

    def _set_premasked(self, value: bool) -> None:
        for layer in self._masked:
            # As an attribute, but nn.Module's own way to set one takes longer than a product.
            layer.__dict__["premasked"] = value

    def _take_replaced(self) -> None:
        """The values of parameters that others put in place of ours, as `assign=True` does."""
        if all(place[name] is parameter for place, name, parameter in self._places):
            return
        self._places = [(place, name, place[name]) for place, name, _ in self._places]
        with torch.no_grad():
            self.weights.copy_(torch.cat([own.flatten() for _, _, own in self._places]))
        self._link()

    def _link(self) -> None:
        """Makes the module's parameters views of `weights`."""
        parts = self.weights.detach().split(self._sizes)
        for (_, _, parameter), part in zip(self._places, parts, strict=True):
            parameter.requires_grad_(False)
            parameter.data = part.view(parameter.shape)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PackedParameters:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._link()
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Copies and pickles hold each parameter for itself.
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._link()

    def _save_to_state_dict(self, *_: Any) -> None:
        pass

    def _load_from_state_dict(self, *_: Any) -> None:
        pass
