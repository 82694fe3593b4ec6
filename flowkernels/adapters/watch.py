"""What a decision about a module was made from, and whether it still holds.

A decision is made once for each module: it reads types, options and masks, which takes longer than
a small layer. A call then only compares what could have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as registry

__all__ = ["Watch"]

_HOOKS = (
    "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks",
)  # fmt: skip


def _members(mapping: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(mapping.values())


class Watch:
    """The state of modules that a decision depends on.

    Parameters are not part of it: who decides reads them from their modules at each call, so that
    they may be replaced, cast or moved at any time.
    """

    __slots__ = ("_buffers", "_comparisons", "_hooks", "_modules", "_types", "hooked")

    def __init__(self) -> None:
        self._comparisons: list[tuple[Callable[[Any], Any], dict[str, Any], Any]] = []
        # torch's hooks of all modules are in dictionaries of their own.
        self._hooks: list[Any] = [getattr(registry, f"_global{name}") for name in _HOOKS]
        self._modules: list[nn.Module] = []
        self._types: tuple[type, ...] = ()
        self._buffers: list[tuple[dict[str, Any], str, Tensor, int]] = []
        self.hooked = any(self._hooks)  # the decision holds for one call only

    def attributes(self, module: nn.Module, names: Sequence[str]) -> None:
        """Plain attributes: numbers, strings, functions. One that is missing must stay away."""
        given = module.__dict__
        present = [name for name in names if name in given]
        if present:
            # Of tuples, which compare by identity first: a tensor among them is no matter.
            get = itemgetter(*present, present[0])
            self._comparisons.append((get, given, get(given)))

    def members(self, module: nn.Module) -> None:
        """The submodules of a module."""
        submodules = module._modules
        if submodules:
            self._comparisons.append((_members, submodules, _members(submodules)))

    def bypassed(self, module: nn.Module) -> None:
        """A module that will not be called: its class, its submodules and that nobody hooks it."""
        self.members(module)
        hooks = [getattr(module, name) for name in _HOOKS]
        self.hooked |= any(hooks)
        self._hooks += hooks
        self._modules.append(module)
        self._types = (*self._types, type(module))

    def buffer(self, module: nn.Module, name: str) -> None:
        """The values of a buffer, which `load_state_dict` changes in place."""
        tensor = module._buffers[name]
        assert tensor is not None
        version = -1 if tensor.is_inference() else tensor._version
        self._buffers.append((module._buffers, name, tensor, version))

    def include(self, other: Watch) -> None:
        """What `other` watches, too."""
        self._comparisons += other._comparisons
        self._hooks += other._hooks[len(_HOOKS) :]
        self._modules += other._modules
        self._types += other._types
        self._buffers += other._buffers
        self.hooked |= other.hooked

    def holds(self) -> bool:
        """Whether all is as it was."""
        for get, mapping, values in self._comparisons:
            if get(mapping) != values:
                return False
        if any(self._hooks) or tuple(map(type, self._modules)) != self._types:
            return False
        for buffers, name, tensor, version in self._buffers:
            if buffers[name] is not tensor or (version >= 0 and tensor._version != version):
                return False
        return True
