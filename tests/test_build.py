"""Build and import problems end in one message with the command that fixes them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.gpu import compilation

from . import forked

ROOT = Path(__file__).parents[1]


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return forked.run(code, cwd=ROOT, env={**os.environ, **env})


SETUP = (
    "import runpy, sys; sys.argv = ['setup.py', '--name'];"
    "runpy.run_path('setup.py', run_name='__main__')"
)


def refusal(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode != 0
    assert "Traceback" not in result.stderr
    return result.stderr


def test_setup_without_torch() -> None:
    message = refusal(run(f"import sys; sys.modules['torch'] = None; {SETUP}"))
    assert "torch is not importable" in message
    assert "pip install --no-build-isolation" in message


def test_setup_with_an_unsupported_torch() -> None:
    message = refusal(run(f"import torch; torch.__version__ = '2.4.1'; {SETUP}"))
    assert "2.4.1" in message
    assert "torch>=2.9" in message


def test_setup_without_a_compiler() -> None:
    message = refusal(run(SETUP, CXX="no-such-compiler"))
    assert "no C++ compiler" in message
    assert "apt-get install g++" in message


def test_setup_with_cuda_requested_but_not_available() -> None:
    import torch

    if torch.version.cuda is not None:
        pytest.skip("this torch is built with CUDA")
    message = refusal(run(SETUP, FLOWKERNELS_CUDA="1"))
    assert "built without CUDA" in message


def fake_nvcc(folder: Path) -> str:
    """A PATH whose nvcc is a script outside the toolkit, as some distributions install it."""
    (folder / "bin").mkdir()
    nvcc = folder / "bin" / "nvcc"
    nvcc.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        f'--dryrun) echo "#$ _HERE_=x" >&2; echo "#$ TOP={folder}/cuda/bin/.." >&2;;\n'
        '*) echo "Cuda compilation tools, release 13.0, V13.0.88";;\n'
        "esac\n"
    )
    nvcc.chmod(0o755)
    (folder / "cuda" / "bin").mkdir(parents=True)
    return f"{nvcc.parent}:{os.environ['PATH']}"


# A torch for CUDA 13.0 on a machine without a GPU.
CUDA_TORCH = "import torch; torch.version.cuda = '13.0'; torch.cuda.is_available = lambda: False;"


def test_setup_with_cuda_but_no_gpu_or_architecture(tmp_path: Path) -> None:
    path = fake_nvcc(tmp_path)
    code = CUDA_TORCH + SETUP
    message = refusal(run(code, PATH=path, FLOWKERNELS_CUDA="1", TORCH_CUDA_ARCH_LIST=""))
    assert "sees no GPU to compile for" in message
    assert "TORCH_CUDA_ARCH_LIST=9.0" in message


def test_setup_for_a_named_architecture_needs_no_gpu(tmp_path: Path) -> None:
    code = CUDA_TORCH + "import setup; print(setup.cuda_problem())"
    result = run(code, PATH=fake_nvcc(tmp_path), TORCH_CUDA_ARCH_LIST="9.0")
    assert result.stdout.strip() == "None", result.stderr


def test_setup_finds_the_toolkit_of_a_script_on_path(tmp_path: Path) -> None:
    code = "import os; import setup; print(os.environ['CUDA_HOME'])"
    result = run(code, PATH=fake_nvcc(tmp_path), CUDA_HOME="", CUDA_PATH="")
    assert result.stdout.strip() == str((tmp_path / "cuda").resolve()), result.stderr
    result = run(code, PATH=os.environ["PATH"], CUDA_HOME="/chosen")
    assert result.stdout.strip() == "/chosen", result.stderr


def test_setup_without_file_locks() -> None:
    """As on Windows."""
    result = run(f"import sys; sys.modules['fcntl'] = None; {SETUP}")
    assert result.returncode == 0, result.stderr
    assert "flowkernels" in result.stdout


def gcc() -> list[str]:
    """The compiler of a build here, if it is GCC."""
    compiler = shlex.split(os.environ.get("CXX", "c++"))
    if shutil.which(compiler[0]) is None or not compilation.setup().is_gcc(compiler):
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
    precompile = compilation.setup().precompile
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
    text = compilation.setup().TORCH_HEADERS.read_text()
    assert not re.search(r'#include "', text), "its copy elsewhere would not find them"
    shared = re.compile(r"#include (<(?:ATen|torch)/[^>]+>)")
    listed = set(shared.findall(text))
    bindings = sorted((ROOT / "csrc/bindings").glob("*.*"))
    count = Counter(name for path in bindings for name in shared.findall(path.read_text()))
    few = {"<ATen/core/Tensor.h>", "<torch/version.h>"}  # small, or part of the others
    assert {name for name, n in count.items() if n > 2} - few <= listed


def test_extension_built_for_another_torch() -> None:
    result = run("import torch; torch.__version__ = '2.9.1'; import flowkernels.ops")
    assert result.returncode != 0
    assert "was built for torch" in result.stderr
    assert "--no-build-isolation" in result.stderr


def test_missing_extension() -> None:
    code = "import sys; sys.modules['flowkernels._C'] = None; import flowkernels.ops"
    result = run(code)
    assert "flowkernels._C is missing" in result.stderr
    assert "pip install --no-build-isolation -e ." in result.stderr


@pytest.mark.parametrize("backend", ["cuda", "triton", "turbo"])
def test_forcing_a_missing_backend_raises(backend: str) -> None:
    result = run("import flowkernels.ops", FLOWKERNELS_BACKEND=backend)
    assert result.returncode != 0
    assert "FLOWKERNELS_BACKEND" in result.stderr


def test_forced_reference_backend() -> None:
    code = (
        "import torch, flowkernels; from flowkernels import ops;"
        "print(flowkernels.backends()['affine_coupling']['cpu']);"
        "print(ops.affine_coupling(torch.ones(1, 2), torch.zeros(1, 4))[0].tolist())"
    )
    result = run(code, FLOWKERNELS_BACKEND="reference")
    assert "plain torch" in result.stdout, result.stderr
    assert "[[1.0, 1.0]]" in result.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' compilers have no -fopenmp")
def test_extension_is_linked_with_openmp() -> None:
    """Without OpenMP, at::parallel_for silently becomes a serial loop."""
    from flowkernels import _C

    assert b"GOMP_parallel" in Path(_C.__file__).read_bytes()
