"""The library does not import the application, and old import paths still work."""

from __future__ import annotations

import ast
import importlib
import pickle
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import flowkernels
from flowkernels._moved import MOVED
from tests import forked

ROOT = Path(flowkernels.__file__).parent
OPS = ROOT.parent / "python_ops"
APPLICATION = "flowkernels.experiments"
# The command `python -m flowkernels` is the application's.
EXEMPT = ("__main__.py", "_moved.py")


def imported(source: str, package: str) -> set[str]:
    """The modules that a file imports, anywhere in it; `package` resolves relative imports."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *filter(None, [base])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and re.fullmatch(
            r"flowkernels(\.\w+)+", str(node.value)
        ):
            # As import_module takes it. A docstring that names a module is longer than its name.
            names.add(str(node.value))
    return names


def violations(root: Path, package: str = "flowkernels") -> list[str]:
    """The library's imports of the application, as `file: module`; `root` is `package`'s folder."""
    found = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if inside.parts[0] == "experiments" or str(inside) in EXEMPT:
            continue
        within = ".".join([package, *inside.parts[:-1]])
        for name in sorted(imported(path.read_text(), within)):
            if name == APPLICATION or name.startswith(APPLICATION + "."):
                found.append(f"{inside}: {name}")
    return found


def test_the_library_does_not_import_the_application() -> None:
    assert violations(ROOT) == []
    assert violations(OPS, "flowkernels.ops") == []


@pytest.mark.parametrize(
    "line",
    [
        "import flowkernels.experiments.data",
        "from flowkernels.experiments import data",
        "from flowkernels import experiments",
        "from .. import experiments",
        "from ..experiments.training import fit",
        "def f():\n    from ..experiments import training",
        "def f():\n    return import_module('flowkernels.experiments.cli')",
    ],
)
def test_planted_import_is_detected(tmp_path: Path, line: str) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "flow.py").write_text(line + "\n")
    assert violations(tmp_path)


STRICT = "import warnings; warnings.filterwarnings('error', '', DeprecationWarning, '__main__')\n"


def run(code: str) -> str:
    done = forked.run(STRICT + code, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_loads_nothing_of_the_application() -> None:
    code = (
        "import sys, flowkernels\n"
        "from flowkernels import bases, bijections, distributions, flows, interpolation, ops\n"
        f"print([m for m in sys.modules if m.startswith({APPLICATION!r})])\n"
        "print([m for m in ('lightning', 'typer', 'matplotlib') if m in sys.modules])"
    )
    assert run(code).split("\n")[:2] == ["[]", "[]"]


def test_flowkernels_alone_does_not_load_torch() -> None:
    code = "import sys, flowkernels; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_flowkernels_loads_its_modules_when_they_are_used() -> None:
    code = (
        "import flowkernels\n"
        "names = [n for n in flowkernels.__all__ if n in dir(flowkernels)]\n"
        "print(names == flowkernels.__all__, all(getattr(flowkernels, n) for n in names))\n"
        "print(flowkernels.flows.realnvp.__name__, hasattr(flowkernels, 'nothing'))"
    )
    assert run(code).split("\n")[:2] == ["True True", "realnvp False"]


MODULES = [
    module.name.removeprefix(f"{APPLICATION}.")
    for module in pkgutil.walk_packages([str(ROOT / "experiments")], f"{APPLICATION}.")
]


def test_every_part_of_the_application_moved() -> None:
    assert {name.split(".")[0] for name in MODULES} == set(MOVED)


@pytest.mark.parametrize("name", MODULES)
def test_old_paths_give_the_same_module(name: str) -> None:
    for loaded in [m for m in sys.modules if m.startswith(f"flowkernels.{name.split('.')[0]}")]:
        del sys.modules[loaded]
    # The packages above it warn too.
    with pytest.warns(DeprecationWarning, match=r"is now flowkernels\.experiments\.") as caught:
        old = importlib.import_module(f"flowkernels.{name}")
    assert any(f"flowkernels.experiments.{name};" in str(w.message) for w in caught)
    new = importlib.import_module(f"{APPLICATION}.{name}")
    assert old is new
    assert new.__name__ == new.__spec__.name == f"{APPLICATION}.{name}"


def test_the_warning_points_at_the_import() -> None:
    for loaded in [m for m in sys.modules if m.startswith("flowkernels.targets")]:
        del sys.modules[loaded]
    with pytest.warns(DeprecationWarning, match="flowkernels.experiments.targets") as caught:
        from flowkernels.targets import target_names  # noqa: F401
    assert caught[0].filename == __file__


def test_old_pickles_load() -> None:
    from flowkernels.experiments.training import RunConfig

    new = pickle.dumps(RunConfig(seed=3), protocol=0)
    old = new.replace(b"flowkernels.experiments.training", b"flowkernels.training")
    assert old != new
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert pickle.loads(old) == RunConfig(seed=3)


def test_unknown_old_paths_are_import_errors() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"flowkernels\.dataset"):
        importlib.import_module("flowkernels.dataset")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("flowkernels.data")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("flowkernels.data.no_such_module")


def test_the_project_imports_no_old_path() -> None:
    project = ROOT.parent
    old = tuple(f"flowkernels.{name}" for name in MOVED)
    found = []
    for folder in ("flowkernels", "python_ops", "tests", "benchmarks"):
        for path in sorted((project / folder).rglob("*.py")):
            if path == Path(__file__) or path.name == "_moved.py":
                continue
            package = ".".join(path.relative_to(project).parts[:-1])
            for name in imported(path.read_text(), package):
                if any(name == o or name.startswith(o + ".") for o in old):
                    found.append(f"{path.relative_to(project)}: {name}")
    assert found == []


def test_documents_and_settings_name_no_old_path() -> None:
    """All but the changelog, which says what moved."""
    project = ROOT.parent
    files = [project / name for name in ("README.md", "CONTRIBUTING.md", "Makefile")]
    files += [project / "pyproject.toml", project / "setup.py", *(project / "docs").glob("*.md")]
    assert len(files) > 5
    old = re.compile(rf"\bflowkernels[./]({'|'.join(MOVED)})\b")
    assert [file.name for file in files if old.search(file.read_text())] == []


def test_loading_the_application_warns_of_no_old_path() -> None:
    code = (
        "import importlib, warnings\n"
        "warnings.filterwarnings('error', '.*the old name will be removed', DeprecationWarning)\n"
        f"for name in {MODULES}: importlib.import_module('{APPLICATION}.' + name)\n"
    )
    run(code)


def test_the_library_does_not_import_the_compiler() -> None:
    """torch._dynamo takes as long to import as torch itself."""
    modules = ("flows", "bijections", "bases", "distributions", "interpolation", "adapters")
    code = f"import {', '.join(f'flowkernels.{m}' for m in modules)}, sys\n"
    code += "sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT.parent)
