"""A directory of links to the checkout, with python_ops as `flowkernels.ops`.

It replaces an installation, which would need pip, and leaves the checkout unchanged.
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


def compiled(root: Path) -> Path:
    """Where the compiled parts of a tree lie, in a folder for each torch."""
    return root / "flowkernels" / "compiled"


def make(built_elsewhere: bool = False, where: Path | None = None) -> Path:
    """Create the tree again; extensions built in it earlier are kept.

    With `built_elsewhere` it links the extensions of the checkout.
    """
    root = where or TREE
    package = root / "flowkernels"
    package.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        if (ROOT / name).exists():
            _link(root / name, ROOT / name)
    for old in compiled(root).glob("**/*"):
        if old.is_symlink():  # a build would write through the link
            old.unlink()
    for entry in (ROOT / "flowkernels").iterdir():
        if entry.name not in ("ops", "compiled", "__pycache__"):
            _link(package / entry.name, entry)
    for part in compiled(ROOT).glob("**/*") if built_elsewhere else ():
        if not part.is_dir():
            target = compiled(root) / part.relative_to(compiled(ROOT))
            target.parent.mkdir(parents=True, exist_ok=True)
            _link(target, part)
    _link(package / "ops", ROOT / "python_ops")
    return root
