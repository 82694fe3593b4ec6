"""Runs every example in a public docstring; test_documents.py runs those of the README and docs."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest
import torch

import flowkernels
import flowkernels.ops

WITHOUT_SBI = "sbi is not installed (extra `sbi`)"


def _modules() -> list[str]:
    names = ["flowkernels"]
    for package in (flowkernels, flowkernels.ops):
        prefix = f"{package.__name__}."
        names += [m.name for m in pkgutil.walk_packages(package.__path__, prefix)]
    skipped = ("flowkernels.__main__", "flowkernels._C")
    return sorted({n for n in names if not n.startswith(skipped) and ".triton" not in n})


@pytest.mark.parametrize("name", _modules())
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    if name.startswith("flowkernels.adapters.sbi"):
        pytest.importorskip("sbi", reason=WITHOUT_SBI)
    if name == "flowkernels.adapters.onnx":
        pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra `onnx`)")
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_every_public_op_has_an_example() -> None:
    for name in flowkernels.ops.__all__:
        function = getattr(flowkernels.ops, name)
        for heading in ("Args:", "Returns:", "Raises:", "Example:", ">>>"):
            assert heading in (function.__doc__ or ""), f"{name} has no {heading!r} section"
