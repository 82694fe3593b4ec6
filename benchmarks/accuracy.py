"""python -m benchmarks.accuracy: writes docs/accuracy.md, our errors and those of SciPy and TFP.

Measured at the points of the tests' stored tables (22 digits, written by `python -m
tests.reference.generate`); for slerp and the stereographic projection at their tests' angles and
lengths.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from flowkernels import ops
from tests.reference.table import load

from . import accuracy_page, files, machine
from .accuracy_errors import RADIAL, Array, errors
from .accuracy_libraries import SciPy, tfp_errors
from .accuracy_sphere import slerp_rows, stereographic_rows


class Ours:
    """The ops at one precision; A' by autograd, as in a training step."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.name = f"flowkernels {str(dtype).split('.')[1]}"
        self.dtype = dtype

    def _each(self, groups: Array, x: Array, function: Callable[[Tensor, float], Tensor]) -> Array:
        out = np.full_like(x, np.nan)
        for group in np.unique(groups):
            rows = groups == group
            argument = torch.from_numpy(x[rows]).to(self.dtype)
            out[rows] = function(argument, float(group)).detach().double().numpy()
        return out

    def radial(self, p: Array, kappa: Array) -> dict[str, Array]:
        """One call of an op for each dimension."""

        def slope(k: Tensor, dim: float) -> Tensor:
            k.requires_grad_()
            return torch.autograd.grad(ops.vmf_mean_resultant(k, int(dim)).sum(), k)[0]

        functions: tuple[Callable[[Tensor, float], Tensor], ...] = (
            lambda k, dim: ops.vmf_log_normalizer(k, int(dim)),
            lambda k, dim: ops.vmf_log_normalizer(k, int(dim), relative=True),
            lambda k, dim: ops.vmf_mean_resultant(k, int(dim)),
            slope,
        )
        return {n: self._each(p, kappa, f) for n, f in zip(RADIAL, functions, strict=True)}

    def log_iv(self, v: Array, x: Array) -> Array:
        """One call for each order."""
        return self._each(v, x, lambda k, order: ops.log_iv(order, k))


def measured() -> dict[str, dict[str, Array]]:
    """The errors of each implementation at every point."""
    double, single, scipy = Ours(torch.float64), Ours(torch.float32), SciPy()
    out = {
        double.name: errors(double),
        single.name: errors(single, single=True),
        scipy.name: errors(scipy),
    }
    tfp = tfp_errors()
    return out if tfp is None else {**out, tfp[0]: tfp[1]}


def main() -> None:
    """Measure the errors, print the page and write it with its picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--output", type=Path, default=machine.ROOT / "docs", help="folder")
    output = parser.parse_args().output
    torch.set_num_threads(1)
    found = measured()
    vmf, bessel = load("vmf.csv"), load("log_iv.csv")
    text = accuracy_page.page(
        found,
        p=vmf["p"].value,
        kappa=vmf["kappa"].value,
        v=bessel["v"].value,
        x=bessel["x"].value,
        slerp=slerp_rows(),
        stereographic=stereographic_rows(),
        facts=machine.facts(),
    )
    (output / "images").mkdir(parents=True, exist_ok=True)
    files.write_text(output / "accuracy.md", text)
    figure = accuracy_page.picture(found, vmf["p"].value, vmf["kappa"].value)
    files.write(output / "images" / "accuracy.png", lambda path: figure.savefig(path, dpi=110))
    print(text)
    print(f"wrote {output / 'accuracy.md'} and {output / 'images' / 'accuracy.png'}")


if __name__ == "__main__":
    main()
