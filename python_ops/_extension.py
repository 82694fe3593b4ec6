"""Loads the compiled extension, or says what to type where that fails."""

from __future__ import annotations

import os

import torch

_REBUILD = "pip install --no-build-isolation --force-reinstall --no-deps ."

try:
    from flowkernels import _C
except ImportError as error:
    if "undefined symbol" in str(error) or "symbol not found" in str(error).lower():
        raise ImportError(
            f"flowkernels' compiled extension was built for another torch than the installed "
            f"{torch.__version__}. Build it again in this environment:\n    {_REBUILD}"
        ) from error
    raise ImportError(
        "flowkernels' compiled extension flowkernels._C is missing. From a checkout, build it "
        "with the environment's own torch:\n    pip install --no-build-isolation -e ."
    ) from error

_built = _C.build_info()
_wanted = os.environ.get("FLOWKERNELS_CPU_ISA", "")
if _wanted and _wanted.lower() != _built["cpu_isa"]:
    _compiled = ", ".join(_built["cpu_isas_compiled"])
    raise ImportError(
        f"FLOWKERNELS_CPU_ISA must name an instruction set that this build ({_compiled}) and this "
        f"processor have, or be unset, got {_wanted!r}"
    )

_built_for = str(_built["torch"]).split(".")[:2]
if _built_for != torch.__version__.split(".")[:2]:
    raise ImportError(
        f"flowkernels' compiled extension was built for torch {'.'.join(_built_for)}, but torch "
        f"{torch.__version__} is installed. Build it again in this environment:\n    {_REBUILD}"
    )

__all__ = ["_C"]
