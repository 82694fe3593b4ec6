"""Replacing methods of other libraries' classes, in single modules or for all of a class.

A library's module here lists the classes that it knows as :class:`Replacement`. Each decides once
how a module is served (its plan), and has functions that stand in for methods. Such a function
returns what the method would, or the reason (a string) why this call is left to the library, whose
method then runs.
"""

from __future__ import annotations

import copy
import copyreg
import functools
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from .calls import Record, record_of
from .watch import Watch

__all__ = [
    "DEFER", "Decision", "Replacement", "accelerated_class", "find", "plain_class", "restored",
]  # fmt: skip

# serve(plan, module, *arguments of the method); while compiling without the plan.
Serve = Callable[..., Any]

# A reason that is not counted: another replaced method serves a part of the call.
DEFER = ""
_DECISION = "_flowkernels_decision"
_PLAIN = "_flowkernels_plain"
_MARK = "_flowkernels_replaces"


class Decision:
    """How a module is served, or a string that says why it is not, and what that follows from.

    Kept in the module's `__dict__`. Copies and pickles of the module have None in its place, which
    the plain library can load without this package.
    """

    __slots__ = ("modules", "plan", "watch")

    def __init__(self, plan: Any, watch: Watch, modules: dict[str, Any]) -> None:
        self.plan, self.watch, self.modules = plan, watch, modules

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        return None

    def __reduce__(self) -> tuple[Any, ...]:
        return type(None), ()


@dataclass(eq=False)
class Replacement:
    """A class of another library and the functions that stand in for its methods.

    Attributes:
        library: its name.
        path: "module:Class".
        decide: of a module and a watch, which it tells what it looked at: the plan, a reason why
            the module cannot be served, or `DEFER`.
        methods: by name; called with the plan, the module and the arguments of the method.
        stands_for: further methods of the class whose effect is in these functions: where a
            subclass has one of its own, it is left alone.
        compiled: functions for methods while torch.compile traces them, called without a plan;
            where there is none the library's own method runs, which the compiler fuses.
    """

    library: str
    path: str
    decide: Callable[[Any, Watch], Any]
    methods: dict[str, Serve]
    stands_for: tuple[str, ...] = ()
    compiled: dict[str, Serve] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.name = self.path.partition(":")[2]
        self.record: Record = record_of(self.library, self.name)

    @functools.cached_property
    def plain(self) -> type | None:
        """The class; None where the library's version lacks it."""
        module, _, name = self.path.partition(":")
        try:
            found: type | None = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            if error.name is not None and not module.startswith(error.name):
                raise
            return None
        return found

    @functools.cached_property
    def originals(self) -> dict[str, Callable[..., Any]]:
        """The library's methods, as they were when the class was first looked at."""
        names = (*self.methods, *self.stands_for)
        found = {name: getattr(self.plain, name) for name in names if hasattr(self.plain, name)}
        return {name: getattr(method, _MARK, method) for name, method in found.items()}

    @functools.cached_property
    def wrappers(self) -> dict[str, Callable[..., Any]]:
        """The methods to put in place."""
        return {name: self._wrapped(name) for name in self.methods if name in self.originals}

    def overridden(self, kind: type, names: Iterable[str]) -> str | None:
        """The first of these methods that a subclass or somebody's patch has replaced."""
        for name in names:
            if name in self.originals:
                method = getattr(kind, name)
                if getattr(method, _MARK, method) is not self.originals[name]:
                    return name
        return None

    def why_not(self, module: nn.Module) -> str | None:
        """The reason why `accelerate` leaves a module of this class alone, or None."""
        name = self.overridden(plain_class(type(module)), self.methods)
        if name is None:
            name = next((n for n in self.originals if n in module.__dict__), None)
        if name is not None:
            return f"{type(module).__name__} has its own `{name}`"
        plan = self.plan(module)
        return plan if isinstance(plan, str) and plan != DEFER else None

    def plan(self, module: nn.Module) -> Any:
        """How a module is served: as it was decided, if nothing changed since, else anew."""
        state = module.__dict__
        kept: Decision | None = state.get(_DECISION)
        if kept is not None and kept.modules is state["_modules"] and kept.watch.holds():
            return kept.plan
        watch = Watch()
        name = self.overridden(plain_class(type(module)), self.stands_for)
        if name is not None:
            plan: Any = f"{type(module).__name__} has its own `{name}`"
        else:
            plan = self.decide(module, watch)
        if not watch.hooked:
            state[_DECISION] = Decision(plan, watch, state["_modules"])
        return plan

    def _wrapped(self, name: str) -> Callable[..., Any]:
        original, serve, record = self.originals[name], self.methods[name], self.record
        compiled = self.compiled.get(name)
        while_compiling = original if compiled is None else _else(compiled, original)
        decide_anew, is_compiling = self.plan, torch.compiler.is_compiling

        @functools.wraps(original)
        def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            if is_compiling():
                return while_compiling(self, *args, **kwargs)
            # As `plan` does, without the time of a call.
            state = self.__dict__
            kept = state.get(_DECISION)
            if kept is not None and kept.modules is state["_modules"] and kept.watch.holds():
                plan = kept.plan
            else:
                plan = decide_anew(self)
            result = plan
            if plan.__class__ is not str:
                result = serve(plan, self, *args, **kwargs)
                if result.__class__ is not str:
                    record.served += 1
                    return result
            if result:
                record.left[result] += 1
            return original(self, *args, **kwargs)

        setattr(method, _MARK, original)
        return method


def _else(serve: Serve, original: Callable[..., Any]) -> Callable[..., Any]:
    """`serve`, or the method where it gives a reason."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = serve(self, *args, **kwargs)
        return original(self, *args, **kwargs) if isinstance(result, str) else result

    return method


# ---- single modules -------------------------------------------------------------------------


def plain_class(kind: type) -> type:
    """The library's or user's class that an accelerated one stands for; others are their own."""
    plain: type = kind.__dict__.get(_PLAIN, kind)
    return plain


def find(module: nn.Module, replacements: list[Replacement]) -> Replacement | None:
    """The replacement for a module: that of the nearest class it inherits from."""
    known = {r.plain: r for r in replacements if r.plain is not None}
    return next((known[kind] for kind in type(module).__mro__ if kind in known), None)


@functools.cache
def accelerated_class(plain: type, replacement: Replacement) -> type:
    """A subclass with the replaced methods, of the same name; pickles as the plain class."""
    members: dict[str, Any] = {
        "__module__": plain.__module__, "__qualname__": plain.__qualname__,
        "__doc__": plain.__doc__, "__reduce_ex__": _reduce, "__copy__": _copy, _PLAIN: plain,
    }  # fmt: skip
    if not hasattr(plain, "__deepcopy__"):
        members["__deepcopy__"] = _deepcopy
    return type(plain.__name__, (plain,), members | replacement.wrappers)


def restored(module: nn.Module) -> bool:
    """Makes an accelerated module plain again; False for others."""
    plain = plain_class(type(module))
    module.__dict__.pop(_DECISION, None)
    if plain is type(module):
        return False
    module.__class__ = plain
    return True


def _reduce(self: Any, protocol: Any) -> Any:
    """As the plain class has it: its library reads it without this package."""
    kind = type(self)
    plain = kind.__dict__[_PLAIN]
    reduced = super(kind, self).__reduce_ex__(protocol)
    if isinstance(reduced, str):
        return reduced
    function, args, *rest = reduced
    if function is copyreg.__newobj__:  # type: ignore[attr-defined]
        # Of which pickle checks that the class is the object's own.
        # The function that pickles of protocol 0 name.
        return (copyreg._reconstructor, (plain, object, None), *rest)  # type: ignore[attr-defined]
    return (function, tuple(plain if a is kind else a for a in args), *rest)


def _deepcopy(self: Any, memo: dict[int, Any]) -> Any:
    copied = self.__new__(type(self))
    memo[id(self)] = copied
    copied.__setstate__(copy.deepcopy(super(type(self), self).__reduce_ex__(4)[2], memo))
    return copied


def _copy(self: Any) -> Any:
    copied = self.__new__(type(self))
    copied.__setstate__(super(type(self), self).__reduce_ex__(4)[2])
    return copied
