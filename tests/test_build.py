"""Build and import problems end in one message with the command that fixes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
