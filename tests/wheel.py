"""Installs a wheel where there is no compiler, and runs the tests of the ops from there.

    python -m tests.wheel dist/flowkernels-*.whl [--torch 2.13.0 2.14.1] [--python python3.11]
                          [--tests tests/ops/test_refusals.py ...]

One environment, made anew, gets the wheel with the first torch; the others then take its place, as
when a user upgrades. With each, `flowkernels info` must say that compiled kernels serve.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What the tests of the ops import beside the package, in the versions of constraints.txt.
PACKAGES = ("pytest", "pytest-xdist", "scipy", "mpmath", "hypothesis", "numpy")
TESTS = ("tests/ops/test_refusals.py", "tests/ops/test_mlp.py", "tests/ops/test_vmf_accuracy.py")
COMPILERS = ("c++", "g++", "gcc", "cc", "clang", "clang++", "nvcc", "ninja")


def pinned() -> list[str]:
    """The packages with their versions."""
    text = (ROOT / "constraints.txt").read_text()
    found = [re.search(rf"(?i)^{name}==\S+$", text, re.MULTILINE) for name in PACKAGES]
    return [match[0] for match in found if match]


class Environment:
    """An empty environment, whose PATH has no compiler."""

    def __init__(self, where: Path, python: str) -> None:
        self.python = where / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "venv", where / "venv"], check=True)
        self.checkout = where / "checkout"
        self.checkout.mkdir()
        for name in ("tests", "benchmarks", "csrc"):  # tests only: no flowkernels, no python_ops
            hidden = shutil.ignore_patterns("__pycache__", "results", "*.so")
            shutil.copytree(ROOT / name, self.checkout / name, ignore=hidden)
        for name in ("setup.py", "pyproject.toml", "README.md"):
            shutil.copy(ROOT / name, self.checkout / name)
        kept = ("HOME", "LANG", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
        passed = {
            k: v for k, v in os.environ.items() if k in kept or k.startswith(("PIP_", "XDG_"))
        }
        self.environment = passed | {"PATH": str(self.python.parent), "OMP_NUM_THREADS": "1"}
        for compiler in COMPILERS:
            if shutil.which(compiler, path=self.environment["PATH"]):
                raise SystemExit(f"{compiler} is on the PATH of the empty environment")

    def run(self, *arguments: str | Path, quiet: bool = False) -> str:
        """Runs this Python; the output of a failure is shown."""
        process = subprocess.run(
            [str(self.python), *map(str, arguments)], cwd=self.checkout, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if process.returncode or not quiet:
            print(process.stdout[-6000:], flush=True)
        if process.returncode:
            raise SystemExit(f"failed: {' '.join(map(str, arguments))}")
        return process.stdout

    def install(self, *what: str | Path) -> None:
        """Installs packages; nothing may be compiled."""
        self.run("-m", "pip", "install", "--quiet", "--only-binary=:all:", *what, quiet=True)


def main() -> int:
    """0 if the wheel works with every torch."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--torch", nargs="+", default=["2.13.0", "2.14.1"], metavar="VERSION")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--tests", nargs="+", default=TESTS)
    chosen = parser.parse_args()
    wheel = chosen.wheel.resolve()
    with tempfile.TemporaryDirectory(prefix="wheel-") as folder:
        empty = Environment(Path(folder), chosen.python)
        for version in chosen.torch:
            print(f"torch {version}: installing", flush=True)
            already = "flowkernels" in empty.run("-m", "pip", "list", quiet=True)
            empty.install(f"torch=={version}", *pinned(), *([] if already else [wheel]))
            info = empty.run("-m", "flowkernels", "info")
            if "compiled C++" not in info:
                raise SystemExit("`flowkernels info` does not say that compiled kernels serve")
            where = empty.run("-c", "import flowkernels; print(flowkernels.__file__)", quiet=True)
            if "site-packages" not in where:
                raise SystemExit(f"the tests would run another flowkernels: {where}")
            empty.run("-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen.tests)
    return 0


if __name__ == "__main__":
    sys.exit(main())
