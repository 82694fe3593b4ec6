"""Loads the compiled parts that fit the installed torch and this Python, or says what to do.

They lie in flowkernels/compiled, a folder for each minor version of torch, whose C++ interface
changes between them. A wheel holds several; a build from source makes one.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

import flowkernels

_REBUILD = "pip install --no-build-isolation --force-reinstall --no-deps ."
COMPILED = Path(flowkernels.__file__).parent / "compiled"
_TORCH = ".".join(torch.__version__.split("+")[0].split(".")[:2])
FOLDER = COMPILED / ("torch_" + _TORCH.replace(".", "_"))


def path_of(name: str) -> Path | None:
    """The file of a compiled module for this torch and this Python, if there is one."""
    machinery = importlib.machinery
    suffixes = [*machinery.EXTENSION_SUFFIXES, *machinery.SOURCE_SUFFIXES]  # tests have stand-ins
    paths = (FOLDER / f"{name}{suffix}" for suffix in suffixes)
    return next((path for path in paths if path.exists()), None)


def load(name: str) -> ModuleType:
    """The compiled module `flowkernels.<name>`; ImportError says why it cannot be had."""
    full = f"flowkernels.{name}"
    if full in sys.modules:
        return sys.modules[full]
    path = path_of(name)
    if path is None:
        raise ImportError(_missing(full))
    spec = importlib.util.spec_from_file_location(full, path)
    assert spec is not None
    assert spec.loader is not None
    try:
        module = importlib.util.module_from_spec(spec)
        sys.modules[full] = module
        spec.loader.exec_module(module)
    except ImportError as error:
        sys.modules.pop(full, None)
        raise ImportError(
            f"{full} cannot be loaded: {error}. Its file {path} was built for another torch than "
            f"the installed {torch.__version__}, or is damaged. Build it again in this "
            f"environment:\n    {_REBUILD}"
        ) from error
    setattr(flowkernels, name, module)
    return module


def _missing(full: str) -> str:
    """What is there instead, and the command that makes what is missing."""
    built = sorted(COMPILED.glob("torch_*/_C.*"), key=lambda p: (len(p.parent.name), str(p)))
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    if not built:
        return (
            f"flowkernels' compiled extension {full} is missing. From a checkout, build it with "
            "the environment's own torch:\n    pip install --no-build-isolation -e ."
        )
    versions = dict.fromkeys(p.parent.name[len("torch_") :].replace("_", ".") for p in built)
    if _TORCH not in versions:
        return (
            f"flowkernels' compiled extension was built for torch {', '.join(versions)}, but torch "
            f"{torch.__version__} is installed. Install one of these, a wheel of flowkernels that "
            f"holds torch {_TORCH}, or build from a checkout in this environment:\n    {_REBUILD}"
        )
    names = sorted(p.name.split(".")[1] for p in built if p.parent == FOLDER)
    return (
        f"flowkernels' compiled extension was built for {', '.join(names)}, but this is Python "
        f"{python}. Build it from a checkout in this environment:\n    {_REBUILD}"
    )


_C: Any = load("_C")

_built = _C.build_info()
_wanted = os.environ.get("FLOWKERNELS_CPU_ISA", "")
if _wanted and _wanted.lower() != _built["cpu_isa"]:
    _compiled = ", ".join(_built["cpu_isas_compiled"])
    raise ImportError(
        f"FLOWKERNELS_CPU_ISA must name an instruction set that this build ({_compiled}) and this "
        f"processor have, or be unset, got {_wanted!r}"
    )

__all__ = ["FOLDER", "_C", "load", "path_of"]
