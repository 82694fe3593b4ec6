"""What is written from the declarations of the ops: python -m tests.declared

The exports of flowkernels.ops, where the type checker reads them, and the table of docs/ops.md.
test_declared.py holds both to the declarations.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from flowkernels.ops._declaration import PUBLIC

ROOT = Path(__file__).parents[1]
OPS = ROOT / "python_ops"
EXPORTS = (
    OPS / "__init__.py",
    "# The public ops, for the type checker; written by `python -m tests.declared`.\n",
    "\n# The end of what is written.\n",
)
TABLE = (
    ROOT / "docs" / "ops.md",
    "<!-- the table of `python -m tests.declared` -->\n",
    "<!-- end of the table of ops -->\n",
)
Place = tuple[Path, str, str]


def declare_all() -> None:
    """Imports every op, those too that nothing exports yet."""
    for module in sorted(OPS.glob("[a-z]*.py")):
        importlib.import_module(f"flowkernels.ops.{module.stem}")


def exports() -> str:
    """Lines that import every public op, as the type checker wants them."""
    ops = sorted((op.family, name) for name, op in PUBLIC.items())
    return "".join(_import(family, name) for family, name in ops)


def _import(family: str, name: str) -> str:
    """A line, or what the formatter makes of one that is too long."""
    line = f"from .{family} import {name} as {name}\n"
    return line if len(line) <= 101 else f"from .{family} import (\n    {name} as {name},\n)\n"


def table() -> str:
    """A line an op: a call, and the same in torch."""
    ops = sorted(PUBLIC.values(), key=lambda op: (op.family, op.name))
    lines = [f"| `{op.usage}` | {op.same} |\n" for op in ops]
    return "".join(["| `flowkernels.ops` | equivalent in torch |\n|---|---|\n", *lines])


def between(place: Place) -> str:
    """What stands between a file's marks."""
    path, begin, end = place
    return path.read_text().partition(begin)[2].partition(end)[0]


def write(place: Place, text: str) -> None:
    """Puts `text` between a file's marks."""
    path, begin, end = place
    before, _, rest = path.read_text().partition(begin)
    after = rest.partition(end)[2]
    path.write_text(before + begin + text + end + after)


def main() -> None:
    """Writes both."""
    declare_all()
    write(EXPORTS, exports())
    write(TABLE, table())


if __name__ == "__main__":
    main()
