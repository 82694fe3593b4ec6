"""Old import paths of the application, which moved to `flowkernels.experiments`.

`import flowkernels.data.idx` still works, with a DeprecationWarning, and gives the very module
`flowkernels.experiments.data.idx`: classes keep one identity, and old pickles load.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

MOVED = ("cli", "data", "evaluation", "study", "targets", "training")
_OLD = tuple(f"flowkernels.{name}" for name in MOVED)


class _MovedLoader:
    """Loads the module of the new name in place of one of the old name."""

    def __init__(self, new: str) -> None:
        self._new = new

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        from importlib import import_module

        module = import_module(self._new)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the old name's spec on the module, which has run already.
        module.__spec__ = self._spec


class _MovedFinder:
    """Finds modules by their old names."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(_OLD) or name.split(".")[1] not in MOVED:
            return None
        # Here, as `import flowkernels` should not pay for what few programs need: importlib.abc,
        # whose classes these would derive from, and importlib.util double its time.
        import warnings
        from importlib.machinery import ModuleSpec
        from importlib.util import find_spec

        new = name.replace("flowkernels.", "flowkernels.experiments.", 1)
        if find_spec(new) is None:
            return None
        # The stack below this frame is the import system's, which warnings do not count.
        warnings.warn(
            f"{name} is now {new}; the old name will be removed in flowkernels 0.2",
            DeprecationWarning,
            stacklevel=2,
        )
        return ModuleSpec(name, _MovedLoader(new), is_package=False)  # type: ignore[arg-type]


def install() -> None:
    """Makes the old names importable."""
    # In front: behind the path finder, `flowkernels.data.idx` would be loaded a second time
    # from the folder of the new `flowkernels.experiments.data`.
    sys.meta_path.insert(0, _MovedFinder())
