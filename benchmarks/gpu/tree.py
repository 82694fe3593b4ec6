"""A tree to run from: the checkout by links, with `flowkernels.ops` in its place.

An installation would map python_ops to flowkernels.ops; without pip, and without touching
the checkout, a directory of links does.
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
TREE = ROOT / "build" / "gpu"
LINKED = ("benchmarks", "csrc", "python_ops", "tests", "setup.py", "pyproject.toml", "README.md")


def _link(to: Path, target: Path) -> None:
    if to.is_symlink():
        to.unlink()
    to.symlink_to(target.resolve(), target_is_directory=target.is_dir())


def make(built_elsewhere: bool = False, where: Path | None = None) -> Path:
    """Makes the tree anew; extensions built in it earlier stay.

    With `built_elsewhere` it takes the extensions that lie in the checkout.
    """
    root = where or TREE
    package = root / "flowkernels"
    package.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        if (ROOT / name).exists():
            _link(root / name, ROOT / name)
    for old in package.glob("*.so"):
        if old.is_symlink():  # a build would write through it
            old.unlink()
    for entry in (ROOT / "flowkernels").iterdir():
        if entry.name in ("ops", "__pycache__"):
            continue
        if entry.suffix == ".so" and not built_elsewhere:
            continue
        _link(package / entry.name, entry)
    _link(package / "ops", ROOT / "python_ops")
    return root
