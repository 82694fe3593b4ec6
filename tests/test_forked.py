"""Code in a fork of the server behaves as in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import forked


@pytest.mark.parametrize(
    "code",
    [
        "import os; print(os.getcwd(), __name__, os.environ['HOME'])",
        "import sys; print(2, file=sys.stderr)",
        "import sys; sys.exit(3)",
        "import sys; sys.exit('a message')",
        "import sys; print('flowkernels' in sys.modules, sys.stdin.read() == '')",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_a_fork_is_like_a_process(code: str, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": "elsewhere"}
    got = forked.run(code, cwd=tmp_path, env=environment)
    want = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (got.returncode, got.stdout, got.stderr) == (want.returncode, want.stdout, want.stderr)


def test_errors_are_printed_and_runs_do_not_see_each_other(tmp_path: Path) -> None:
    run = forked.run("import math; math.pi = 3; raise ValueError('as it should')", cwd=tmp_path)
    assert run.returncode == 1
    assert run.stderr.endswith("ValueError: as it should\n")
    assert forked.run("import math; print(math.pi)", cwd=tmp_path).stdout.startswith("3.14")
