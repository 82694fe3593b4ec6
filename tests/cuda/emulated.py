"""A pytest plugin: the tests run on the CUDA kernels, executed on the CPU.

    python -m pytest -p tests.cuda.emulated ...

The library of FLOWKERNELS_EMULATED takes the place of the CPU kernels; at the end the
kernels that ran are written, one name a line, to FLOWKERNELS_EMULATED_RAN.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest
import torch

from flowkernels import ops

from .kernels import symbols

LIBRARY = Path(os.environ["FLOWKERNELS_EMULATED"])

assert ops is not None  # the ops must be registered before their kernels are replaced
torch.ops.load_library(str(LIBRARY))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Notes which kernels ran."""
    library = ctypes.CDLL(str(LIBRARY))
    offsets = (ctypes.c_size_t * 4096)()
    count = library.emulator_executed(offsets, len(offsets))
    names = {offset: name for name, offset in symbols(LIBRARY).items()}
    ran = sorted(names[offset] for offset in offsets[:count])
    Path(os.environ["FLOWKERNELS_EMULATED_RAN"]).write_text("".join(f"{n}\n" for n in ran))
