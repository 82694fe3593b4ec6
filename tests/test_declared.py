"""What follows from the declarations of the ops is what the files say."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import get_args

import pytest
import torch

import flowkernels
from flowkernels import _C, ops
from flowkernels.ops._declaration import OPS, PUBLIC, arguments_of
from flowkernels.ops.composite import affine_coupling, bessel, mlp, rational_quadratic_spline

from . import declared

ROOT = Path(__file__).parents[1]


def test_files_written_from_the_declarations_are_current() -> None:
    declared.declare_all()
    for place, text in ((declared.EXPORTS, declared.exports()), (declared.TABLE, declared.table())):
        assert declared.between(place) == text, f"{place[0].name}: run python -m tests.declared"


def test_every_public_op_is_exported_and_described() -> None:
    described = flowkernels.backends()
    assert sorted(described) == ops.__all__ == sorted(PUBLIC)
    for name, op in PUBLIC.items():
        assert getattr(ops, name) is op.function
        assert set(op.served_by) <= set(OPS), f"{name} is served by an op that is not declared"
        for kernels in op.served_by:
            assert name == kernels or kernels in described[name]["cpu"], described[name]


def test_every_bound_op_is_declared() -> None:
    assert set(_C.build_info()["ops"]) == set(OPS)


def test_a_backward_takes_the_arguments_of_its_op() -> None:
    for name, op in OPS.items():
        if op.backward:
            own = arguments_of(name)
            assert arguments_of(f"{name}_backward")[-len(own) :] == own


def test_lists_of_options_are_those_of_the_kernels() -> None:
    """The type checker's lists, the formulas and the kernels have the same names in one order."""
    lists = _C.options()
    for option, literal in (
        ("scale_fn", affine_coupling.ScaleFn),
        ("layout", affine_coupling.Layout),
        ("order", affine_coupling.Order),
        ("transform", affine_coupling.Transform),
        ("boundary", rational_quadratic_spline.Boundary),
        ("convention", rational_quadratic_spline.Convention),
        ("reduction", affine_coupling.KernelReduction),
        ("activation", mlp.Activation),
    ):
        assert get_args(literal) == lists[option]
    assert tuple(affine_coupling.SCALES) == lists["scale_fn"]
    assert tuple(bessel.DEFINITIONS) == tuple(bessel.DERIVATIVES) == lists["bessel"]
    for name in lists["scale_fn"]:
        assert name in (inspect.getdoc(ops.affine_coupling) or "")


@pytest.mark.parametrize("option", ["scale_fn", "layout", "order", "transform"])
def test_an_unknown_option_is_answered_with_the_list(option: str) -> None:
    x = torch.ones(2, 4)
    with pytest.raises(ValueError, match=f"`{option}` must be one of") as caught:
        ops.affine_coupling_split(x, x, **{option: "other"})  # type: ignore[arg-type]
    assert ", ".join(_C.options()[option]) in str(caught.value)


def _imported(path: Path) -> set[str]:
    """The modules that a file imports, with the package in front of relative ones."""
    found: set[str] = set()
    package = ".".join(("flowkernels.ops", *path.relative_to(ROOT / "python_ops").parts[:-1]))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module or "")))
            found |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    return found


def _files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize(
    "path", _files("python_ops/reference"), ids=lambda path: path.stem
)  # fmt: skip
def test_the_oracle_imports_nothing_of_ours(path: Path) -> None:
    ours = {name for name in _imported(path) if name.startswith("flowkernels")}
    assert all(name.startswith("flowkernels.ops.reference") for name in ours), ours


def test_nothing_that_users_run_imports_the_oracle() -> None:
    for path in _files("python_ops"):
        if "reference" not in path.parts:
            assert not any("ops.reference" in name for name in _imported(path)), path
    for path in _files("flowkernels"):
        text = path.read_text()
        assert "ops.reference" not in text, path
        assert "ops import reference" not in text, path
