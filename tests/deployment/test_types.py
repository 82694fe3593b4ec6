"""Type checkers see the installed package's types in a program that uses it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = ("consumer.py", "consumer_errors.py")
WRONG = [
    number
    for number, line in enumerate((HERE / NAMES[1]).read_text().splitlines(), 1)
    if line.endswith("# wrong")
]
PACKAGE = [sys.executable, "-m"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as a wheel has it, and a program beside it."""
    folder = tmp_path_factory.mktemp("types")
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "experiments")
    shutil.copytree(ROOT / "flowkernels", folder / "site" / "flowkernels", ignore=ignored)
    shutil.copytree(ROOT / "python_ops", folder / "site/flowkernels/ops", ignore=ignored)
    (folder / "program").mkdir()
    for name in NAMES:
        shutil.copy(HERE / name, folder / "program")
    return folder


def assert_reported(found: list[tuple[str, int, str]]) -> None:
    """That exactly the wrong lines are reported."""
    first = [each for each in found if each[0] == NAMES[0]]
    assert not first, first
    lines = {line for name, line, _ in found if name == NAMES[1]}
    assert lines == set(WRONG), (sorted(lines ^ set(WRONG)), found)


def test_mypy(installed: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed (extra `dev`)")
    # Errors in the package itself, under another configuration than its own, do not concern users.
    (installed / "mypy.ini").write_text(
        f"[mypy]\nstrict = true\nmypy_path = {installed / 'site'}\n"
        "[mypy-flowkernels.*]\nignore_errors = true\n"
        "[mypy-sklearn.*,triton.*,torch.*]\nignore_missing_imports = true\n"
    )
    ran = subprocess.run(
        [*PACKAGE, "mypy", "--config-file", str(installed / "mypy.ini"), "--no-incremental",
         "--no-error-summary", "--hide-error-context", *NAMES],
        cwd=installed / "program", capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert ran.stderr == ""
    found = re.findall(r"^(\S+?):(\d+): error: (.*)$", ran.stdout, flags=re.MULTILINE)
    assert_reported([(name, int(line), text) for name, line, text in found])


def test_pyright(installed: Path) -> None:
    pytest.importorskip("pyright", reason="pyright is not installed (extra `dev`)")
    settings = {
        "include": list(NAMES), "extraPaths": [str(installed / "site")],
        "typeCheckingMode": "strict",
        # torch leaves the types of many of its functions open.
        "reportUnknownMemberType": False, "reportUnknownVariableType": False,
        "reportUnknownArgumentType": False, "reportMissingTypeStubs": False,
    }  # fmt: skip
    config = installed / "program" / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    ran = subprocess.run(
        [*PACKAGE, "pyright", "--outputjson", "--project", str(config), "--pythonpath",
         sys.executable],
        cwd=installed / "program", capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    try:
        report = json.loads(ran.stdout[ran.stdout.index("{") :])
    except ValueError:
        pytest.skip(f"pyright does not run here: {(ran.stderr or ran.stdout)[-300:]}")
    found = [
        (Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["message"])
        for each in report["generalDiagnostics"]
        if each["severity"] == "error"
    ]
    assert_reported(found)
