"""Docstrings as plain prose: `|x|`, `(*batch, p)` and `locs_` are text, not reStructuredText.

Also the classes that the API reference names as bases: public ones only. A private base is replaced
by its own bases, and its members are shown as the class's.
"""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from functools import cache
from typing import Any

from sphinx.application import Sphinx

MODULES = ("adapters", "bases", "bijections", "cluster", "distributions", "flows", "interpolation")
# Code and roles stay as they are; a backslash has already escaped what follows it.
KEPT = re.compile(r"(``.*?``|:[a-z:]+:`[^`]*`|`[^`]*`|\\.)")
MARKUP = re.compile(r"([|*])|(?<=\w)(_)(?!\w)")
NAMES = re.compile(r"\s+\w+(?:, \w+)*: ")  # of arguments and attributes, at a line's beginning
ITEM = re.compile(r"^\w[.)]")  # "K." would begin a list


def _prose(line: str) -> str:
    names = NAMES.match(line)
    if names:
        return names[0] + ITEM.sub(r"\\\g<0>", _prose(line[names.end() :]))
    parts = KEPT.split(line)
    parts[::2] = [MARKUP.sub(r"\\\g<0>", part) for part in parts[::2]]
    return "".join(parts)


def escaped(lines: list[str]) -> list[str]:
    """The lines, marks of reStructuredText in prose escaped; formulas and examples as before."""
    found: list[str] = []
    depth: int | None = None  # the indent of a directive whose block we are in
    example = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if depth is not None and line.strip() and indent <= depth:
            depth = None
        example = bool(line.strip()) and (example or line.lstrip().startswith(">>>"))
        if line.lstrip().startswith(".. "):
            depth = indent
        found.append(line if depth is not None or example else _prose(line))
    return found


# Napoleon reads "a: b" in the docstring of a property as its type and a description.
PLAIN = ("attribute", "data", "property")
_before: dict[str, list[str]] = {}


def _process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = escaped(lines)
    if what in PLAIN:
        _before[name] = list(lines)


def _restore(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what in PLAIN:
        lines[:] = _before.pop(name)
    # Napoleon escapes names like `labels_`, which the directive then shows with the backslash.
    lines[:] = [
        line.replace("\\_", "_") if line.lstrip().startswith(".. attribute::") else line
        for line in lines
    ]


@cache
def public() -> frozenset[type]:
    """The public classes."""
    modules = [importlib.import_module(f"flowkernels.{name}") for name in MODULES]
    objects = (getattr(module, name) for module in modules for name in module.__all__)
    return frozenset(o for o in objects if inspect.isclass(o))


def foreign_or_public() -> str:
    """Bases whose members are not repeated in each class that extends them."""
    names = {"object"}
    for one in public():
        names |= {
            base.__name__
            for base in one.__mro__
            if base in public() or not base.__module__.startswith("flowkernels")
        }
    return ",".join(sorted(names))


def _named(base: Any) -> list[Any]:
    """A base, or what stands in for a private one."""
    base = typing.get_origin(base) or base
    if not inspect.isclass(base) or base in public() or base is object:
        return [base]
    if not base.__module__.startswith("flowkernels"):
        return [base]
    return [found for each in base.__bases__ for found in _named(each)]


def _bases(app: Sphinx, name: str, obj: Any, options: Any, bases: list[Any]) -> None:
    named = dict.fromkeys(found for base in bases for found in _named(base))
    bases[:] = [base for base in named if base not in (object, typing.Generic)] or [object]


def _skip(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    function = obj.fget if isinstance(obj, property) else obj
    module = getattr(function, "__module__", None) or "flowkernels"
    return None if module.startswith("flowkernels") else True


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", _process, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", _restore, priority=600)  # after it
    app.connect("autodoc-process-bases", _bases)
    app.connect("autodoc-skip-member", _skip)
    return {"parallel_read_safe": True}
