"""torch's headers, which the emulator's bindings read in compiled form."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from csrc.building import graph, sources

from .kernels import ROOT
from .precompiled import precompile


def gcc() -> list[str]:
    """The compiler of a build here, if it is GCC."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if shutil.which(compiler[0]) is None or not graph.is_gcc(compiler):
        pytest.skip("headers are compiled ahead with GCC only, which is not the compiler here")
    return compiler


def compiled_with(options: list[str], source: Path, tmp_path: Path) -> list[str]:
    """What -H says of compiled forms: "!" of one that is read, "x" of one that cannot serve."""
    command = [*gcc(), *options, "-H", "-c", str(source), "-o", str(tmp_path / "out.o")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return re.findall(rf"^([!x]) {re.escape(str(tmp_path))}", run.stderr, re.MULTILINE)


def test_headers_are_compiled_once(tmp_path: Path) -> None:
    compiler, folder = gcc(), tmp_path / "compiled"
    header, source = tmp_path / "sum.h", tmp_path / "sum.cpp"
    header.write_text("inline int two() { return 2; }\n")
    source.write_text("int four() { return two() + two(); }\n")
    flags = ["-std=c++20", "-O2", "-fPIC"]
    options = precompile(compiler, flags, header, folder)
    (compiled,) = folder.glob("*.gch")
    made = compiled.stat().st_mtime_ns
    assert compiled_with([*flags, "-DNAME=sum", *options], source, tmp_path) == ["!"]
    assert precompile(compiler, flags, header, folder) == options
    assert compiled.stat().st_mtime_ns == made
    # For other flags it cannot serve; the text does.
    assert compiled_with(["-std=c++17", "-O2", "-fPIC", *options], source, tmp_path) == ["x"]
    header.write_text("inline int two() { return 1 + 1; }\n")
    assert precompile(compiler, flags, header, folder) != options
    assert len(list(folder.glob("*.gch"))) == 1, "the older one is gone"
    header.write_text("inline int two() {")
    assert precompile(compiler, flags, header, folder) == []


def test_torch_headers_have_what_bindings_include() -> None:
    """Else a binding would parse a large header that all of them could share."""
    text = sources.TORCH_HEADERS.read_text()
    assert not re.search(r'#include "', text), "its copy elsewhere would not find them"
    shared = re.compile(r"#include (<(?:ATen|torch)/[^>]+>)")
    listed = set(shared.findall(text))
    bindings = sorted((ROOT / "csrc/bindings").glob("*.*"))
    count = Counter(name for path in bindings for name in shared.findall(path.read_text()))
    few = {"<ATen/core/Tensor.h>", "<torch/version.h>"}  # small, or part of the others
    assert {name for name, n in count.items() if n > 2} - few <= listed
