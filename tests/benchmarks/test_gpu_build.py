"""Objects compiled on one machine and linked on another: which are up to date, and messages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

from benchmarks.gpu import build, compilation, objects, tree
from csrc.building import sources

ROOT = Path(__file__).parents[2]

# Fake compilers: the object contains the path of its source.
FAKE = """#!/bin/sh
while [ $# -gt 0 ]; do
  case "$1" in
    -c) test -f "$2" || exit 3; source="$2"; shift;;
    -o) output="$2"; shift;;
  esac
  shift
done
case "$source" in *refused*) echo "error: as it should"; exit 1;; esac
test -z "$output" || echo "$source" > "$output"
"""


_MAKE_DRIVER = objects._make_driver


@pytest.fixture
def fake_compilers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    compilation.setup()  # with the real compilers and checkout
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("c++", "nvcc"):
        (folder / name).write_text(FAKE)
        (folder / name).chmod(0o755)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(cpp_extension, "CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(objects, "_make_driver", lambda manifest, jobs: None)
    return folder


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compilers: Path) -> Path:
    """A checkout with one kernel of each kind, and its objects."""
    root = tmp_path / "checkout"
    for name, text in {
        "csrc/cuda/star.cu": '#include "star.h"\n#include "../math/light.h"\n',
        "csrc/cuda/star.h": '#pragma once\n#include "engine.h"\n',
        "csrc/cuda/engine.h": "",
        "csrc/cpu/star.cpp": '#include "../math/light.h"\n#include "absent.h"\n',
        "csrc/math/light.h": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(tree, "ROOT", root)
    monkeypatch.setattr(sources, "ROOT", root)
    monkeypatch.setattr(objects, "FOLDER", root / "build" / "gpu-objects")
    objects.make(jobs=2)
    return root


def steps() -> dict[str, compilation.Step]:
    return {s.name: s for s in compilation.kernel_steps("sm_90")}


def test_manifest_lists_every_object(checkout: Path) -> None:
    manifest = json.loads((objects.FOLDER / "manifest.json").read_text())
    isas = sources.ISA_FLAGS
    assert set(manifest["objects"]) == {"cuda/star", *(f"cpu/{isa}/star" for isa in isas)}
    entry = manifest["objects"]["cuda/star"]
    assert set(entry["files"]) == {
        f"csrc/{name}" for name in ("cuda/star.cu", "cuda/star.h", "cuda/engine.h", "math/light.h")
    }
    assert "code=sm_90" in entry["flags"]
    there = {str(p.relative_to(objects.FOLDER)) for p in objects.FOLDER.rglob("*")}
    assert there == {"manifest.json", *(e["object"] for e in manifest["objects"].values())}
    found = objects.fresh(checkout / "csrc/cuda/star.cu")
    assert found is not None
    assert found.read_text() == "csrc/cuda/star.cu\n"
    assert objects.fresh(checkout / "csrc/cpu/star.cpp", "baseline") is not None


@pytest.mark.parametrize("header", ["engine.h", "star.h"])
def test_changed_header_makes_the_object_stale(checkout: Path, header: str) -> None:
    (checkout / "csrc/cuda" / header).write_text("// changed\n")
    found, why = objects.lookup(steps()["cuda/star"])
    assert found is None
    assert f"csrc/cuda/{header}" in why
    assert objects.fresh(checkout / "csrc/cuda/star.cu") is None
    assert objects.lookup(steps()["cpu/baseline/star"])[0] is not None, (
        "it does not include the header"
    )
    objects.make(jobs=1)
    assert objects.fresh(checkout / "csrc/cuda/star.cu") is not None
    assert len(list(objects.FOLDER.glob("cuda-star.*.o"))) == 1, "the stale object is gone"


def test_added_header_makes_the_object_stale(checkout: Path) -> None:
    """A header that did not exist when the object was compiled."""
    (checkout / "csrc/cpu/absent.h").write_text("")
    assert "csrc/cpu/absent.h" in objects.lookup(steps()["cpu/baseline/star"])[1]


def test_changed_flags_and_architecture_make_the_object_stale(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = compilation.kernel_steps("sm_100")[0]
    assert objects.lookup(other) == (None, "stale: its flags changed")
    monkeypatch.setattr(sources, "NVCC_FLAGS", ["-O1"])
    assert objects.lookup(steps()["cuda/star"]) == (None, "stale: its flags changed")


def test_damaged_object_is_rejected(checkout: Path) -> None:
    path = objects.fresh(checkout / "csrc/cuda/star.cu")
    assert path is not None
    path.write_text("half of")
    found, why = objects.lookup(steps()["cuda/star"])
    assert found is None
    assert "damaged" in why


def test_bindings_are_stale_for_another_torch(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (checkout / "csrc/bindings").mkdir()
    (checkout / "csrc/bindings/star.cpp").write_text("")
    monkeypatch.setattr(sources, "PLAIN", [])
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(sources, "cpu_bindings", lambda: ["csrc/bindings/star.cpp"])
    objects.make(jobs=1)
    assert objects.lookup(compilation.binding_steps()[0][0])[0] is not None
    monkeypatch.setattr(torch, "__version__", "2.10.0")
    assert "stale: it is for torch" in objects.lookup(compilation.binding_steps()[0][0])[1]


def test_driver_is_stale_if_it_or_a_kernel_changes(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkout / "tests/cuda/driver"
    folder.mkdir(parents=True)
    (folder / "build.py").write_text("")
    (folder / "main.cpp").write_text('#include "../../../csrc/math/light.h"\n')
    given: list[list[str]] = []

    def build_cuda(to: Path, linked: list[Path], arch: str, jobs: int) -> Path:
        given.append([p.name.split(".")[0] for p in linked])
        to.mkdir(parents=True, exist_ok=True)
        (to / "driver").write_text("a program")
        return to / "driver"

    fake = types.SimpleNamespace(build_cuda=build_cuda)
    monkeypatch.setitem(sys.modules, "tests.cuda.driver.build", fake)
    monkeypatch.setattr(objects, "_make_driver", _MAKE_DRIVER)
    assert objects.driver() is None
    objects.make(jobs=1)
    assert objects.driver() == objects.FOLDER / "driver" / "driver"
    objects.make(jobs=1)
    assert given == [["cuda-star"]], "it is built once"
    sources = ["tests/cuda/driver/main.cpp", "csrc/cuda/engine.h", "csrc/cpu/star.cpp"]
    for name in (*sources, "csrc/math/light.h"):
        with (checkout / name).open("a") as file:
            file.write("// changed\n")
        assert objects.driver() is None, name
        objects.make(jobs=1)
        assert objects.driver() is not None
    (objects.FOLDER / "driver" / "driver").write_text("half of")
    assert objects.driver() is None


def test_compile_error_is_printed(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (checkout / "csrc/cuda/refused.cu").write_text("")
    with pytest.raises(SystemExit, match="not compiled: cuda/refused"):
        objects.make(jobs=1)
    assert "error: as it should" in capsys.readouterr().out
    assert objects.fresh(checkout / "csrc/cuda/star.cu") is not None


def _build(where: Path, full: bool = False) -> build.Build:
    """A build of the real lists of sources."""
    made = build.Build(tree.make(where=where), "sm_90", jobs=2, full=full)
    wanted = made.wanted()
    found = made.compile(wanted, carried_bindings=True)
    for module in build.EXTENSIONS:
        assert made.link(module, [found[s.name] for s in wanted[module]]) == ""
    return made


def test_build_reuses_fresh_objects_and_compiles_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compilers: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(objects, "FOLDER", tmp_path / "objects")
    objects.make(jobs=2)
    manifest = json.loads((objects.FOLDER / "manifest.json").read_text())
    manifest["objects"]["cuda/slerp"]["files"]["csrc/cuda/slerp.cu"] = "another"
    manifest["objects"]["cuda/slerp"]["digest"] = "another"
    (objects.FOLDER / "manifest.json").write_text(json.dumps(manifest))

    first = {s["name"]: s["how"] for s in _build(tmp_path / "tree").steps}
    assert first["cuda/slerp"] == "compiled"
    assert "cuda/slerp: the prebuilt object cannot be used: stale: csrc/cuda/slerp.cu" in (
        capsys.readouterr().out
    )
    kernels = {s for s in steps() if s != "cuda/slerp"}
    assert {name for name, how in first.items() if how == "carried"} == kernels
    # Every source of the checkout is in at least one extension.
    compiled = {s.source for each in _wanted(tmp_path) for s in each}
    assert compiled == {
        str(p.relative_to(ROOT)) for p in ROOT.glob("csrc/**/*") if p.suffix in (".cpp", ".cu")
    }
    built = list(tree.compiled(tmp_path / "tree").glob("**/*.so"))
    assert {p.name.split(".")[0] for p in built} == {"_C", "_C_cuda"}
    assert not any(p.is_symlink() for p in built)

    again = {s["how"] for s in _build(tmp_path / "tree").steps}
    assert again == {"kept", "carried"}
    full = {s["how"] for s in _build(tmp_path / "tree", full=True).steps}
    assert full == {"compiled"}
    assert all("seconds" in s for s in _build(tmp_path / "tree", full=True).steps)


def _wanted(tmp_path: Path) -> list[list[compilation.Step]]:
    return list(build.Build(tmp_path, "sm_90", 1, False).wanted().values())


def test_build_reports_missing_tools(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["build"])
    monkeypatch.setattr(compilation.setup().cpp_extension, "CUDA_HOME", None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert build.main() == 1
    assert "nvcc was not found" in capsys.readouterr().out


@pytest.mark.parametrize(("arch", "word"), [(None, "sees no GPU"), ("sm_90", None)])
def test_build_without_a_gpu_needs_an_architecture(
    monkeypatch: pytest.MonkeyPatch, fake_compilers: Path, arch: str | None, word: str | None
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    why = build.problem(arch)
    assert why is None if word is None else word in str(why)


def test_architecture_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine's GPU determines the architecture")
    for named, expected in {"9.0": "sm_90", "10.0": "sm_100", "": None, "8.0;9.0": None}.items():
        monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", named)
        assert build.architecture() == expected


@pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler")
def test_included_headers_are_found() -> None:
    """read_by finds every header that the preprocessor finds."""
    lists = (
        sources.cpu_kernels, sources.cpu_bindings, sources.cuda_kernels, sources.cuda_bindings
    )  # fmt: skip
    for source in {s for each in lists for s in each()}:
        command = ["c++", "-std=c++20", "-DFK_ISA=baseline", "-x", "c++", "-MM", "-MG", source]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        read = {
            (ROOT / name).resolve()
            for name in re.split(r"[\s\\]+", run.stdout.split(":", 1)[1])
            if name.startswith("csrc/")
        }
        assert (ROOT / source).resolve() in read
        assert read <= set(compilation.read_by(ROOT / source)), source


def test_bindings_that_do_not_load_are_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compilers: Path
) -> None:
    monkeypatch.setattr(objects, "FOLDER", tmp_path / "objects")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    objects.make(jobs=2)
    made = build.Build(tree.make(where=tmp_path / "tree"), "sm_90", jobs=2, full=False)
    codes = [1, 0]
    monkeypatch.setattr(made, "load", lambda: codes.pop(0))
    assert made.run() == 0
    assert codes == []
    assert made.facts["carried_bindings_failed"]
    how = {s["name"]: s["how"] for s in made.steps}
    assert {name.split("/")[0] for name, h in how.items() if h == "carried"} == {"cpu", "cuda"}
    assert {how[s.name] for each in compilation.binding_steps() for s in each} == {"compiled"}


def test_failing_local_build_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_compilers: Path
) -> None:
    monkeypatch.setattr(objects, "FOLDER", tmp_path / "objects")
    made = build.Build(tree.make(where=tmp_path / "tree"), "sm_90", jobs=2, full=False)
    codes = [1]
    monkeypatch.setattr(made, "load", lambda: codes.pop(0))
    assert made.run() == 1
