"""The generated files of the mathematics are up to date."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

TABLES = Path(__file__).parents[1] / "csrc" / "math" / "tables"


def generator(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tables_{name}", TABLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", [path.stem for path in sorted(TABLES.glob("*.py"))])
def test_files_are_as_generated(name: str) -> None:
    written = generator(name)
    assert written.HEADER.read_text() == written.header()
    if hasattr(written, "MODULE"):
        assert written.MODULE.read_text() == written.module()
