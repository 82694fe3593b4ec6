"""`python -m benchmarks.gpu --rehearse` end to end, without a GPU.

Runs in a copy of the checkout without a repository, with only the packages of the GPU's machine.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import page, plan, profile, results, table, tree
from benchmarks.gpu.stages import Interrupted, Outcome, Stage, run
from tests.cuda import harness
from tests.cuda.driver import build

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that are transferred to another machine, and the extension built here."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("benchmarks", "csrc", "flowkernels", "python_ops", "tests"):
        hidden = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, copy / name, ignore=hidden)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy / name)
    if not list(tree.compiled(copy).glob("*/_C.*.so")):
        pytest.skip("flowkernels is not built in this checkout")
    return copy


def _command(output: Path, *arguments: str) -> list[str]:
    command = [sys.executable, "-m", "benchmarks.gpu", "--rehearse", "--output", str(output)]
    return [*command, "--commit", COMMIT, *arguments]


@pytest.fixture(scope="module")
def driver() -> Path:
    """Every CUDA kernel on the CPU harness."""
    if problem := harness.missing():
        pytest.skip(f"no driver: {problem}")
    return build.build_cpu(harness.BUILD)


def _environment(checkout: Path) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(checkout / "benchmarks/gpu/rehearsal")}
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    return environment


def _one(output: Path, pattern: str) -> Path:
    (path,) = output.glob(pattern)
    return path


@pytest.mark.slow
def test_rehearsal(checkout: Path, driver: Path, tmp_path: Path) -> None:
    """Every stage ends as expected within its limit; all output files are there."""
    environment = _environment(checkout) | {"FLOWKERNELS_DRIVER": str(driver)}
    environment["ASAN_OPTIONS"] = "detect_leaks=0"
    ran = subprocess.run(
        _command(tmp_path), cwd=checkout, env=environment, capture_output=True, text=True,
        timeout=1800,
    )  # fmt: skip
    report = ran.stdout + ran.stderr
    assert ran.returncode == 1, report  # some stages fail on purpose
    assert "as it should" in ran.stdout
    assert "would not be copied back" not in ran.stdout
    assert results.problems_with(tmp_path) == []
    day = _one(tmp_path, "*.json").name[:10]
    stem = f"{day}-{COMMIT[:7]}-rehearsal"
    wanted = {f"{stem}.json", f"{stem}.png", f"{stem}-logs.tar.gz"}
    assert {p.name for p in tmp_path.iterdir()} == wanted

    result = json.loads((tmp_path / f"{stem}.json").read_text())
    assert result["machine"]["commit"] == COMMIT
    ended = {s["name"]: s for s in result["stages"]}
    passed = {"build", "smoke cuda", "tests cuda", "rows cuda", "rows eager", "glow cuda"}
    passed |= {"driver check", "driver time", "training"}
    assert {n for n, s in ended.items() if s["status"] == "passed"} >= passed, report
    assert ended["times out"]["status"] == "timed out"
    assert ended["fails"]["status"] == "failed"
    for name in ("needs it", "lacks something", "profile", "sanitizer memcheck"):
        assert ended[name]["status"] == "skipped"
        assert ended[name]["reason"]
    assert all(s.get("seconds", 0) <= s.get("limit", 0) + 10 for s in ended.values())

    timed = [r for r in result["rows"] if "op" in r]
    for implementation in ("cuda", "eager"):
        own = [r for r in timed if r["implementation"] == implementation]
        assert len(own) == len(table.by_label(own)) > 60
        assert all(r["us"] > 0 for r in own), [r for r in own if "us" not in r]
    normflows = next(r for r in timed if r["implementation"] == "normflows")
    assert normflows["not_timed"] == "normflows is not installed"
    assert {line["result"] for line in result["smoke_cuda"] if "op" in line} == {"right"}
    assert {line["outcome"] for line in result["tests"]} <= {"passed", "skipped"}
    assert all(line.get("check", "passed") == "passed" for line in result["driver"])
    assert sum(line.get("done", False) for line in result["driver"]) == 2
    loops = [line["loop"] for line in result["training"] if "steps_per_second" in line]
    assert loops == ["plain loop", "launched", "captured"], result["training"]
    with tarfile.open(tmp_path / f"{stem}-logs.tar.gz") as logs:
        assert "rows-cuda.log" in logs.getnames()
        assert "warm-eager-0.log" in logs.getnames()


def test_only_selects_stages(checkout: Path, tmp_path: Path) -> None:
    ran = subprocess.run(
        _command(tmp_path, "--only", "rows", "--ops", "slerp"), cwd=checkout,
        env=_environment(checkout), capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    result = json.loads(_one(tmp_path, "*.json").read_text())
    assert [s["name"] for s in result["stages"]] == ["rows cuda", "rows eager"]
    assert {r["op"] for r in result["rows"] if "op" in r} == {"slerp"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_interrupted_run_keeps_its_results(
    checkout: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """If the run is killed, the JSON file is valid and has the rows so far."""
    process = subprocess.Popen(
        _command(tmp_path, "--only", "build", "rows"), cwd=checkout, start_new_session=True,
        env=_environment(checkout), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + 200
        known: list[Any] = []
        while len(known) < 5 and time.monotonic() < end:
            time.sleep(0.2)
            for path in tmp_path.glob("*.json"):
                known = json.loads(path.read_text()).get("rows", [])  # valid at every moment
        assert len(known) >= 5
        process.send_signal(number)
        process.wait(timeout=30)
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)
    result = json.loads(_one(tmp_path, "*.json").read_text())
    assert result["rows"][: len(known)] == known
    assert results.problems_with(tmp_path) == []
    if number == signal.SIGTERM:
        assert result["stages"][-1] == {
            "name": "rows cuda", "status": "interrupted", "reason": "SIGTERM",
        }  # fmt: skip


def test_limits_fit_into_one_run() -> None:
    """All stages except the build and the tests at the end, which use the remaining time."""
    stages = plan.Plan(Path("work"), Path("driver")).whole()
    names = [s.name for s in stages]
    must = stages[: names.index("tests triton")]
    seconds = sum(s.seconds for s in must if "build" not in s.name)
    assert seconds <= 460, seconds
    assert {"rows cuda", "rows triton", "rows compiled", "profile", "sanitizer memcheck"} <= {
        s.name for s in must
    }
    assert not any(s.background for s in stages if s.section in ("rows", "driver", "profile"))


@pytest.mark.parametrize(
    ("commit", "name"),
    [
        (COMMIT, "2026-01-02-0123456-gpu"),
        ("(exit status 128)", "2026-01-02-unknown-gpu"),
        ("../escape", "2026-01-02-unknown-gpu"),
        ("", "2026-01-02-unknown-gpu"),
    ],
)
def test_file_names_are_legal(commit: str, name: str) -> None:
    assert results.stem("2026-01-02T03:04:05", commit, "gpu") == name
    assert results.LEGAL_NAME.fullmatch(name)


def test_problems_with_output_files(tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.json").write_text("{}")
    assert results.problems_with(tmp_path) == []
    (tmp_path / "a b.json").write_text("{}")
    with (tmp_path / "9.json").open("wb") as file:
        file.truncate(results.MOST_BYTES + 1)
    found = " ".join(results.problems_with(tmp_path))
    assert "10 files" in found
    assert "a b.json" in found
    assert "9.json" in found


def test_truncated_lines_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\nnot json\n{"a": 2}\n{"a": ')
    assert results.read_lines(path) == [{"a": 1}, {"a": 2}]


def test_stage_ends_with_its_children(tmp_path: Path) -> None:
    """A stage ends its background processes and the children of both."""
    other_pid = tmp_path / "other"
    code = f"import os, time; open({str(other_pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    other = Stage("background", [sys.executable, "-c", code], 60, in_tree=False)
    wait = f"import os, time\nwhile not os.path.getsize({str(other_pid)!r}): time.sleep(0.05)"
    other_pid.touch()
    main = Stage("main", [sys.executable, "-c", wait], 30, background=(other,), in_tree=False)
    outcome = run(main, tmp_path, 30, {})
    assert outcome.status == "passed", outcome
    with pytest.raises(ProcessLookupError):
        os.kill(int(other_pid.read_text()), 0)


def test_interrupted_stage_ends(tmp_path: Path) -> None:
    def watch() -> None:
        raise Interrupted("SIGTERM")

    stage = Stage("s", [sys.executable, "-c", "import time; time.sleep(60)"], 60, in_tree=False)
    start = time.monotonic()
    with pytest.raises(Interrupted):
        run(stage, tmp_path, 60, {}, watch, poll=0.1)
    assert time.monotonic() - start < 20


def test_stage_needs_time_and_passed_stages(tmp_path: Path) -> None:
    stage = Stage("s", ["false"], 60, needs=("build",))
    failed = {"build": Outcome("build", "failed")}
    assert "needs 'build'" in run(stage, tmp_path, 60, failed).reason
    passed = {"build": Outcome("build", "passed")}
    assert "out of time" in run(stage, tmp_path, 1, passed).reason


NAMES = [
    "ID",
    "Process ID",
    "Process Name",
    "Kernel Name",
    "gpu__time_duration.sum",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "launch__registers_per_thread",
]
UNITS = ["", "", "", "", "nsecond", "%", "register/thread"]
KERNELS = ["void fk::cuda::(anonymous namespace)::slerp_forward_tiles<float>(fk::cuda::Args)",
           "void fk::cuda::(anonymous namespace)::slerp_backward_tiles<float>(int)"]  # fmt: skip
VALUES = [["0", "42", "driver", KERNELS[0], "412,640", "71.25", "63"],
          ["1", "42", "driver", KERNELS[1], "512,640", "n/a", "80"]]  # fmt: skip
REPORT = "==PROF== Connected to process 42\n" + "\n".join(
    ",".join(f'"{value}"' for value in row) for row in (NAMES, UNITS, *VALUES)
)


def test_counters_are_read() -> None:
    assert set(NAMES[4:]) <= set(profile.METRICS)
    first, second = profile.kernels(REPORT)
    assert first["kernel"] == "slerp_forward_tiles<float>"
    assert first["nanoseconds"] == 412640
    assert first["dram_percent"] == 71.25
    assert first["registers"] == 63
    assert second["dram_percent"] is None
    assert first["issue_percent"] is None  # this report has no such column
    assert list(profile.kernels("==ERROR== nothing was profiled")) == []


def _row(implementation: str, us: float, **facts: Any) -> dict[str, Any]:
    base = {"op": "slerp", "size": [64, 8], "dtype": "float32", "direction": "forward"}
    return {"implementation": implementation, **base, "us": us, "fraction_of_copy": 0.5, **facts}


def test_the_published_table(tmp_path: Path) -> None:
    rows = [_row("eager", 30.0), _row("compiled", 20.0), _row("cuda", 8.0, graph_us=5.0)]
    machine = {"gpu": "NVIDIA H100, 1", "commit": COMMIT, "date": "2026-01-02T00:00:00",
               "packages": {"torch": "2.11.0"}}  # fmt: skip
    result = {"kind": "gpu", "machine": machine, "rows": rows}
    assert table.geometric_mean(result, "cuda") == pytest.approx(4.0)
    assert table.geometric_mean(result, "triton") is None
    rows += [{**row, "size": [65536, 1024]} for row in rows]
    rows.append({**_row("cuda", 2e4, graph_us=2e3), "op": "glow"})
    rate = {"loop": "captured", "size": "paper", "precision": "32-true", "steps_per_second": 62.97}
    result["training"] = [rate]
    path = tmp_path / "gpu.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.publish(result, path)
    text = path.read_text()
    assert "| op | direction | plain torch | torch.compile | CUDA |" in text
    assert "| `slerp` | forward | 30 | 20 | 8 (5.0) |" in text
    assert "| `slerp` | 65,536 x 1,024 | forward | 30.0 (0.50) | 20.0 (0.50) | 5.0 (0.50) |" in text
    assert "| CUDA | 20.00 | 2.00 |" in text
    assert "| paper, 32-true | 63.0 |" in text
    assert "old" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "slerp 64x8 float32 forward" in table.text({"rows": rows})
    path.write_text("no marks")
    with pytest.raises(SystemExit, match="lacks the markers"):
        page.publish(result, path)
