"""Build and import problems end in one message with the command that fixes them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.gpu import tree
from csrc.building import graph, sources

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


def test_setup_with_a_newer_torch() -> None:
    """A warning: torch changes, and nobody should have to wait for us."""
    result = run(f"import torch; torch.__version__ = '2.99.0'; {SETUP}")
    assert result.returncode == 0, result.stderr
    assert "has been tested with torch up to 2.14" in result.stderr
    assert "2.99.0" in result.stderr


def test_setup_on_windows() -> None:
    message = refusal(run(f"import platform; platform.system = lambda: 'Windows'; {SETUP}"))
    assert "not ported to Windows" in message
    assert "Windows Subsystem for Linux" in message


def test_setup_without_ninja() -> None:
    code = (
        "import sys; sys.modules['ninja'] = None; sys.argv = ['setup.py', '--name'];"
        "from csrc.building import graph; graph.ninja()"
    )
    result = run(code, PATH="/nowhere")
    assert "ninja was not found" in result.stderr
    assert "pip install ninja" in result.stderr


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


def test_extension_built_for_another_torch() -> None:
    result = run("import torch; torch.__version__ = '2.9.1'; import flowkernels.ops")
    message = refusal_of_import(result)
    assert "was built for torch" in message
    assert "torch 2.9.1 is installed" in message
    assert "--no-build-isolation" in message


def test_extension_built_for_another_python() -> None:
    code = "import importlib.machinery as m; m.EXTENSION_SUFFIXES = ['.cpython-399.so'];"
    message = refusal_of_import(run(code + "import flowkernels.ops"))
    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"was built for cpython-{python.replace('.', '')}" in message
    assert f"but this is Python {python}" in message


def test_nothing_is_built(tmp_path: Path) -> None:
    """As in a checkout that is on Python's path."""
    (tmp_path / "flowkernels").mkdir()
    for path in (ROOT / "flowkernels").glob("*.py"):
        shutil.copy(path, tmp_path / "flowkernels")
    shutil.copytree(ROOT / "python_ops", tmp_path / "flowkernels" / "ops")
    message = refusal_of_import(forked.run("import flowkernels.ops", cwd=tmp_path))
    assert "flowkernels._C is missing" in message
    assert "pip install --no-build-isolation -e ." in message


def test_damaged_extension(tmp_path: Path) -> None:
    tree.make(built_elsewhere=True, where=tmp_path)
    (path,) = tree.compiled(tmp_path).glob("*/_C.*")
    path.unlink()
    path.write_bytes(b"not a library")
    message = refusal_of_import(forked.run("import flowkernels.ops", cwd=tmp_path))
    assert "cannot be loaded" in message
    assert str(path) in message
    assert "--no-build-isolation" in message


def refusal_of_import(result: subprocess.CompletedProcess[str]) -> str:
    """The message of an ImportError."""
    assert result.returncode != 0
    assert "ImportError: flowkernels" in result.stderr, result.stderr
    return result.stderr


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
def test_bindings_are_linked_with_openmp() -> None:
    """Without OpenMP, at::parallel_for silently becomes a serial loop."""
    from flowkernels.ops import _extension

    (library,) = _extension.FOLDER.glob("libflowkernels_torch.*")
    assert b"GOMP_parallel" in library.read_bytes()


# ---- the graph --------------------------------------------------------------------------


def test_graph_of_two_torches_and_two_pythons(tmp_path: Path) -> None:
    """Kernels are compiled once, bindings for each torch, entries for each pair."""
    torches = [graph.Torch(version, (f"/include/{version}",)) for version in ("2.13", "2.14")]
    pythons = [graph.Python(f"/py{n}", f".cpython-{n}-x.so") for n in ("311", "312")]
    pairs = [(torch, python) for torch in torches for python in pythons]
    file = graph.Graph(tmp_path / "objects", tmp_path / "flowkernels").write(pairs)
    targets = re.findall(r"^build (\S+?): (\w+) ", file.read_text(), re.MULTILINE)
    assert len(targets) == len({target for target, _ in targets})
    rules = Counter(rule for _, rule in targets)
    kernels = len(sources.cpu_kernels()) * len(sources.ISA_FLAGS) + len(sources.plain())
    together = {name for group in sources.TOGETHER for name in group if "bindings" in name}
    groups = sum("bindings" in group[0] for group in sources.TOGETHER)
    bindings = len(sources.torch_bindings()) - len(together) + groups
    assert rules["compile"] == kernels + 2 * bindings + 4, "one file of entries for each pair"
    linked = [Path(target).relative_to(tmp_path) for target, rule in targets if rule == "link"]
    assert len(linked) == 1 + 2 + 4
    names = [path.name for path in graph.libraries(tmp_path / "flowkernels", torches[0])]
    assert {path.name for path in linked} == {*names, *(f"_C{p.suffix}" for p in pythons)}
    made = file.stat().st_mtime_ns
    graph.Graph(tmp_path / "objects", tmp_path / "flowkernels").write(pairs)
    assert file.stat().st_mtime_ns == made, "ninja would read the same graph again"


def test_parts_need_no_more_than_they_say() -> None:
    """The kernels neither torch nor Python, the bindings no Python: one file serves them all."""
    audit = pytest.importorskip("csrc.building.audit")
    pytest.importorskip("elftools", reason="pyelftools is not installed")
    from flowkernels.ops import _extension

    parts = [*_extension.COMPILED.glob("lib*.so"), *_extension.FOLDER.glob("*.so")]
    assert {p.name.split(".")[0] for p in parts} == {
        "libflowkernels_kernels", "libflowkernels_torch", "_C",
    }  # fmt: skip
    for path in parts:
        assert audit.read(path).problems == []
    module = audit.read(next(p for p in parts if p.name.startswith("_C.")))
    pretended = audit.Part(Path("libflowkernels_torch.so"), module.libraries, module.symbols, ())
    assert pretended.problems, "the audit would not see Python's symbols"


def test_info_needs_no_extra() -> None:
    """It is the first question to a new installation."""
    code = (
        "import sys, importlib.util as u; found = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'rich' else found(name, *a);"
        "sys.modules['typer'] = sys.modules['rich'] = None; sys.argv = ['flowkernels', 'info'];"
        "from flowkernels.experiments.cli import main; main()"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^  slerp +compiled C\+\+ \(\w+\)", result.stdout, re.MULTILINE)
    assert re.search(r"^  torch +2\.", result.stdout, re.MULTILINE)


def test_sources_that_are_compiled_together_are_there() -> None:
    """Else they would silently be compiled one by one."""
    known = {*sources.torch_bindings(), *sources.python_bindings()}
    together = [f"csrc/{name}.cpp" for group in sources.TOGETHER for name in group]
    assert len(together) == len(set(together))
    assert set(together) <= known


def test_torch_headers_have_what_bindings_include() -> None:
    """Else a binding would parse a large header that all of them could share."""
    text = sources.TORCH_HEADERS.read_text()
    assert not re.search(r'#include "', text), "its copy elsewhere would not find them"
    shared = re.compile(r"#include (<(?:ATen|torch)/[^>]+>)")
    listed = set(shared.findall(text))
    bindings = sorted((sources.ROOT / "csrc/bindings").glob("*.*"))
    count = Counter(name for path in bindings for name in shared.findall(path.read_text()))
    few = {"<ATen/core/Tensor.h>", "<torch/version.h>"}  # small, or part of the others
    assert {name for name, n in count.items() if n > 2} - few <= listed
