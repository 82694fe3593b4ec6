"""Triton's interpreter in less time, with the same results.

For each operation of a kernel the interpreter builds the types of its operands and its result,
their shapes as constants of the language, and NumPy's dtype; that takes longer than the arithmetic.
They are equal for types of one name, and are made once. Whether a sum of integers overflows is
computed for an assertion that is made in debug mode alone; in other modes it is not computed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime import interpreter


def remember() -> None:
    """Patches the installed Triton; what is computed stays as it is."""
    builder = interpreter.interpreter_builder
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=builder.options.debug)
    interpreter._get_np_dtype = _by_name(interpreter._get_np_dtype)
    tl.dtype.__eq__ = _equal(tl.dtype.__eq__)
    tl.block_type.__init__ = _block(tl.block_type.__init__)
    tl.tensor.__init__ = _tensor(tl.tensor.__init__)


def _by_name(found: Any) -> Any:
    known: dict[str, np.dtype[Any]] = {}

    def numpys(dtype: Any) -> np.dtype[Any]:
        if dtype.name not in known:
            known[dtype.name] = found(dtype)
        return known[dtype.name]

    return numpys


def _equal(compare: Any) -> Any:
    """A dtype compared with a dtype is no constant that has to be unwrapped."""

    def equal(self: Any, other: Any) -> bool:
        if self is other:
            return True
        if isinstance(other, tl.dtype):
            return bool(self.name == other.name)
        return bool(compare(self, other))

    return equal


def _block(make: Any) -> Any:
    known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def init(self: Any, element_ty: Any, shape: Any) -> None:
        if not all(type(size) is int for size in shape):
            make(self, element_ty, shape)
            return
        key = (element_ty.name, *shape)
        if key not in known:
            make(self, element_ty, shape)
            known[key] = dict(self.__dict__)
        self.__dict__.update(known[key])
        self.element_ty = element_ty

    return init


def _tensor(make: Any) -> Any:
    known: dict[str, dict[str, Any]] = {}

    def init(self: Any, handle: Any, type: Any) -> None:
        if type.name not in known:
            make(self, handle, type)
            known[type.name] = dict(self.__dict__)
        self.__dict__.update(known[type.name])
        self.handle, self.type, self.dtype = handle, type, type.scalar

    return init
