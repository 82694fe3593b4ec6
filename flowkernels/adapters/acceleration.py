"""Other libraries' flows on our kernels: `accelerate`, `restore` and `patch`."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import threading
from types import TracebackType
from typing import Literal, TypeVar, get_args

from torch import nn

from .replacement import Replacement, accelerated_class, find, plain_class, restored

__all__ = ["LIBRARIES", "Library", "Patch", "accelerate", "patch", "restore"]

Library = Literal["nflows", "normflows", "zuko", "FrEIA"]
LIBRARIES: tuple[Library, ...] = get_args(Library)
M = TypeVar("M", bound=nn.Module)


@functools.cache
def replacements_of(library: Library) -> list[Replacement]:
    """The classes of a library that are known here."""
    module = importlib.import_module(f"{__package__}.{library.lower()}")
    found: list[Replacement] = module.REPLACEMENTS
    return [replacement for replacement in found if replacement.plain is not None]


def _library(module: nn.Module) -> Library | None:
    """The library that a module, or a class that it inherits from, is from."""
    for kind in type(module).__mro__:
        root = kind.__module__.partition(".")[0]
        for library in LIBRARIES:
            if root == library:
                return library
    return None


def accelerate(module: M) -> M:
    """Puts the flow layers of nflows, normflows, zuko and FrEIA inside a module on our kernels.

    The layers are changed in place: each gets a subclass of its class whose methods call
    :mod:`flowkernels.ops`. Its parameters, buffers, hooks, `state_dict` and what `isinstance` says
    stay, and so do signatures, return types and results, to rounding. Log-dets are at least
    float32, also where the library's would be in half precision. Layers, calls and options that
    cannot be expressed are left to the library; :func:`report` counts them and says why. Saved or
    pickled modules are the library's own and load without this package; a `deepcopy` stays
    accelerated. Under `torch.compile` affine layers run the library's code, which the compiler
    fuses, and splines our op.

    Args:
        module: any module; what it has of other libraries is left as it is. Calling twice does the
            same as calling once.

    Returns:
        The same module.

    Raises:
        TypeError: it is not a module.

    Example:
        >>> import torch
        >>> from flowkernels.adapters import accelerate
        >>> accelerate(torch.nn.Sequential(torch.nn.Linear(2, 3)))  # nothing to accelerate
        Sequential(
          (0): Linear(in_features=2, out_features=3, bias=True)
        )
    """
    for each in _modules("accelerate", module):
        library = _library(each)
        if library is None or plain_class(type(each)) is not type(each):
            continue
        replacement = find(each, replacements_of(library))
        if replacement is None:
            continue
        why_not = replacement.why_not(each)
        if why_not is not None:
            replacement.record.left_modules[why_not] += 1
            continue
        each.__class__ = accelerated_class(plain_class(type(each)), replacement)
        replacement.record.accelerated += 1
    return module


def restore(module: M) -> M:
    """Undoes :func:`accelerate`: every layer is of its library's class again.

    Args:
        module: any module.

    Returns:
        The same module.

    Raises:
        TypeError: it is not a module.

    Example:
        >>> import torch
        >>> from flowkernels.adapters import accelerate, restore
        >>> restore(accelerate(torch.nn.Linear(2, 3)))
        Linear(in_features=2, out_features=3, bias=True)
    """
    for each in _modules("restore", module):
        restored(each)
    return module


def _modules(owner: str, module: nn.Module) -> list[nn.Module]:
    if not isinstance(module, nn.Module):
        raise TypeError(f"{owner}: module must be a torch.nn.Module, got {type(module).__name__}")
    return list(module.modules())


class Patch:
    """A library's classes on our kernels; see :func:`patch`.

    Attributes:
        library: whose classes.
    """

    _lock = threading.Lock()
    _depth: dict[str, int] = {}  # noqa: RUF012  # how many patches of a library are in place

    def __init__(self, library: Library) -> None:
        self.library = library
        self._own = 0

    def install(self) -> Patch:
        """Puts the replacements in place until :meth:`remove`; patches may be nested."""
        with self._lock:
            depth = self._depth.get(self.library, 0)
            if depth == 0:
                _put(self.library)
            self._depth[self.library] = depth + 1
            self._own += 1
        return self

    def remove(self) -> None:
        """Takes back one :meth:`install`; the last one puts the library's methods back.

        Raises:
            RuntimeError: this patch is not installed.
        """
        with self._lock:
            if self._own == 0:
                raise RuntimeError(f"patch({self.library!r}).remove: it is not installed")
            self._own -= 1
            self._depth[self.library] -= 1
            if self._depth[self.library] == 0:
                _take_back(self.library)

    def __enter__(self) -> Patch:
        return self.install()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


def patch(library: Library) -> Patch:
    """Puts all flow layers of a library on our kernels, inside a `with` block or for good.

    For code that makes its flows itself: every module of the library, also one that exists already,
    is served as :func:`accelerate` would. ``patch(library).install()`` stays until its
    ``remove()``.

    Args:
        library: "nflows", "normflows", "zuko" or "FrEIA".

    Returns:
        A context manager.

    Raises:
        ValueError: the library is none of these.
        ImportError: it is not installed.

    Example:
        >>> from flowkernels.adapters import patch
        >>> patch("numpy")
        Traceback (most recent call last):
        ...
        ValueError: patch: library must be nflows, normflows, zuko or FrEIA, got 'numpy'
    """
    if library not in LIBRARIES:
        raise ValueError(
            f"patch: library must be nflows, normflows, zuko or FrEIA, got {library!r}"
        )
    if importlib.util.find_spec(library) is None:
        raise ImportError(f"patch: {library} is not installed: pip install {library}")
    return Patch(library)


_ABSENT = object()
_REPLACED: dict[str, list[tuple[type, str, object]]] = {}  # what the classes themselves had


def _put(library: Library) -> None:
    # Looked up before any class changes: one may inherit another's methods.
    found = [(r.plain, r.wrappers) for r in replacements_of(library) if r.plain is not None]
    _REPLACED[library] = []
    for plain, wrappers in found:
        for name, wrapper in wrappers.items():
            _REPLACED[library].append((plain, name, plain.__dict__.get(name, _ABSENT)))
            setattr(plain, name, wrapper)


def _take_back(library: Library) -> None:
    for plain, name, own in _REPLACED.pop(library):
        if own is _ABSENT:
            delattr(plain, name)
        else:
            setattr(plain, name, own)
