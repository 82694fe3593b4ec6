"""Importing the library loads torch, NumPy and the library: nothing of the extras.

`python -X importtime -c "import torch, flowkernels.ops"` tells how long it takes.
"""

from __future__ import annotations

import ast
import subprocess
import sys

PUBLIC = [
    "adapters", "adapters.cpp", "adapters.onnx", "adapters.torch_distributions", "bases",
    "bijections", "distributions", "flows", "interpolation", "ops", "special",
]  # fmt: skip
# What a module may load beside torch and the standard library.
OURS = {"flowkernels", "numpy"}
HEAVY = ("torch._dynamo", "torch._inductor", "torch.onnx._internal.exporter", "torch.testing")
LOADED = """
import importlib, sys, torch
for module in {}:
    before = set(sys.modules)
    importlib.import_module("flowkernels." + module)
    print(sorted(set(sys.modules) - before))
"""


def loaded_by(*modules: str) -> list[list[str]]:
    """The modules that each import adds to those of torch and of the imports before it."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADED.format(modules)], capture_output=True, text=True, check=True
    )
    return [ast.literal_eval(line) for line in ran.stdout.splitlines()]


def test_public_modules_load_nothing_of_the_extras() -> None:
    standard = {*sys.stdlib_module_names, "torch"}
    added = loaded_by(*PUBLIC)
    assert len(added) == len(PUBLIC)
    assert any("flowkernels.ops.slerp" in found for found in added)
    for module, found in zip(PUBLIC, added, strict=True):
        assert {name.partition(".")[0] for name in found} - standard <= OURS, (module, found)
        assert not [n for n in found if n.startswith("flowkernels.experiments")], module
        assert not [n for n in found if n.startswith(HEAVY)], module


def test_clustering_loads_scikit_learn_alone() -> None:
    """Its estimators are scikit-learn's where that is installed, with what that loads."""
    (found,) = loaded_by("cluster")
    others = ("flowkernels.experiments", "matplotlib", "pandas", "triton", "lightning", *HEAVY)
    assert not [name for name in found if name.startswith(others)]


def test_the_package_alone_loads_not_even_torch() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "import sys, flowkernels; print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == "False"
