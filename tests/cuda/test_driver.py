"""The driver, every CUDA kernel without torch: its own checks on the CPU, under sanitizers."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .driver import build
from .kernels import symbols

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        harness.missing() is not None, reason=f"no emulated kernels: {harness.missing()}"
    ),
]
DTYPES = {"float32", "float64", "float16", "bfloat16"}
DIRECTIONS = {"forward", "backward"}
FORWARD_ONLY = {"vmf_sample_cosine"}
WIDE_ONLY = {"vmf_mixture"}  # what it reads are matrix products


@pytest.fixture(scope="module")
def driver() -> Path:
    return build.build_cpu(harness.BUILD)


def run(driver: Path, *arguments: str, ran: Path | None = None) -> tuple[int, list[dict[str, Any]]]:
    """The exit status and the lines."""
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:exitcode=99"}
    if ran:
        environment["FLOWKERNELS_DRIVER_RAN"] = str(ran)
    ended = subprocess.run(
        [str(driver), *arguments], capture_output=True, text=True, env=environment, timeout=600
    )
    assert ended.returncode in (0, 1, 2), ended.stderr
    return ended.returncode, [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.fixture(scope="module")
def checked(
    driver: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[int, list[dict[str, Any]], Path]:
    ran = tmp_path_factory.mktemp("driver") / "ran"
    return (*run(driver, "--check", "--sizes", "tiny", ran=ran), ran)


def test_every_case_passes(checked: tuple[int, list[dict[str, Any]], Path]) -> None:
    code, (head, *lines, last), _ = checked
    assert head["driver"]["device"] == "a CPU"
    failed = [line for line in lines if line["check"] != "passed"]
    assert not failed, failed[:5]
    assert code == 0
    assert last == {"done": True, "checked": len(lines), "failed": 0, "timed": 0}


def test_every_op_dtype_and_direction_is_there(
    driver: Path, checked: tuple[int, list[dict[str, Any]], Path]
) -> None:
    _, (_, *lines, _), _ = checked
    names = {line["op"] for line in lines}
    sources = {path.stem for path in build.SOURCES}
    # A source of kernels is an op, but for those that serve several.
    served = {"bessel_order", "affine_coupling_split", "stereographic_inverse"}
    served |= {"vmf_log_prob", "stereographic_vmf_log_prob", "log_det_diagonal"}
    served |= {"vmf_sample_cosine"}
    assert names == sources - {"vmf", "vmf_sample", "log_det"} | served
    for op in names:
        own = {(line["dtype"], line["direction"]) for line in lines if line["op"] == op}
        directions = {"forward"} if op in FORWARD_ONLY else DIRECTIONS
        dtypes = {"float32", "float64"} if op in WIDE_ONLY else DTYPES
        assert own == {(t, d) for t in dtypes for d in directions}, op
        shapes = [line["size"] for line in lines if line["op"] == op]
        assert any(0 in shape for shape in shapes), f"{op}: nothing empty was tried"


def test_every_kernel_ran(driver: Path, checked: tuple[int, list[dict[str, Any]], Path]) -> None:
    """No kernel is left that only a GPU has to run."""
    *_, ran = checked
    offsets = {int(line, 16) for line in ran.read_text().split()}
    kernels = symbols(driver)
    assert kernels, "no kernel was found in the driver"
    idle = sorted(name for name, offset in kernels.items() if offset not in offsets)
    assert not idle, f"{len(idle)} of {len(kernels)} kernels never ran: {idle}"


@pytest.mark.parametrize(
    ("kind", "says"), [("value", "error"), ("unwritten", "not finite"), ("overrun", None)]
)
def test_the_driver_sees(driver: Path, kind: str, says: str | None) -> None:
    """A wrong value, a result that nobody wrote, and a write beside one."""
    arguments = ["--check", "--sizes", "tiny", "--ops", "slerp", "--plant", kind]
    if says is None:  # the address sanitizer ends the program
        with pytest.raises(AssertionError, match="heap-buffer-overflow"):
            run(driver, *arguments)
        return
    code, (_, *lines, last) = run(driver, *arguments)
    assert code == 1
    assert last["failed"] > 0
    assert last["failed"] == sum(line["check"] != "passed" for line in lines)
    assert any(re.search(says, line["check"]) for line in lines)


def test_every_op_is_timed_before_any_is_at_its_next_size(driver: Path) -> None:
    code, (head, *lines, last) = run(driver, "--time", "--sizes", "tiny")
    assert code == 0
    assert head["driver"]["copy_gigabytes_per_second"] > 0
    assert last["timed"] == len(lines)
    assert all(line["us"] > 0 and line["bytes"] > 0 for line in lines)
    assert all("fraction_of_copy" in line for line in lines)
    _, (_, *few, _) = run(driver, "--time", "--sizes", "tiny", "--seconds", "0.5")
    assert len(few) < len(lines)  # what there was no time for is left out


def test_unknown_words_are_refused(driver: Path) -> None:
    for arguments in (
        ["--frobnicate"],
        ["--device", "abacus"],
        ["--check", "--ops", "slurp"],
        ["--seconds"],
    ):
        code, lines = run(driver, *arguments)
        assert code == 2
        assert arguments[-1] in lines[-1]["error"]
