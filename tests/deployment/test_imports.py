"""Importing the library loads torch, NumPy and the library: nothing of the extras.

`python -X importtime -c "import torch, flowkernels.ops"` tells how long it takes.
"""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

PUBLIC = [
    "adapters", "adapters.cpp", "adapters.onnx", "adapters.torch_distributions", "bases",
    "bijections", "distributions", "flows", "interpolation", "ops", "special",
]  # fmt: skip
# What a module may load beside torch and the standard library.
OURS = {"flowkernels", "numpy"}
HEAVY = ("torch._dynamo", "torch._inductor", "torch.onnx._internal.exporter", "torch.testing")
LOADED = """
import sys, torch
before = set(sys.modules)
import flowkernels.{}
print(sorted(set(sys.modules) - before))
"""


def loaded_by(module: str) -> list[str]:
    """The modules that an import adds to those of torch."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADED.format(module)], capture_output=True, text=True, check=True
    )
    found: list[str] = ast.literal_eval(ran.stdout)
    return found


@pytest.mark.parametrize("module", PUBLIC)
def test_a_public_module_loads_nothing_of_the_extras(module: str) -> None:
    found = loaded_by(module)
    assert f"flowkernels.{module}" in found
    standard = {*sys.stdlib_module_names, "torch"}
    assert {name.partition(".")[0] for name in found} - standard <= OURS, found
    assert not [name for name in found if name.startswith("flowkernels.experiments")]
    assert not [name for name in found if name.startswith(HEAVY)]


def test_clustering_loads_scikit_learn_alone() -> None:
    """Its estimators are scikit-learn's where that is installed, with what that loads."""
    found = loaded_by("cluster")
    assert not [
        n for n in found if n.startswith(("flowkernels.experiments", "matplotlib", "pandas"))
    ]
    assert not [n for n in found if n.startswith(("triton", "lightning", *HEAVY))]


def test_the_package_alone_loads_not_even_torch() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "import sys, flowkernels; print('torch' in sys.modules)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == "False"
