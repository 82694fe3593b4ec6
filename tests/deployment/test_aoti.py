"""AOTInductor compiles a flow for the CPU; the package runs in Python and in C++."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch.utils import cpp_extension

from flowkernels.adapters import cpp

from .models import exported, flow_of

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"

pytestmark = pytest.mark.skipif(shutil.which("c++") is None, reason="c++ was not found")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A RealNVP's log density, compiled."""
    folder = tmp_path_factory.mktemp("aoti")
    program = exported("realnvp", "log_prob")
    with pytest.MonkeyPatch.context() as patch:
        # Not the cache of all processes of this user, whose compilations would be read and written.
        patch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "cache"))
        path = str(folder / "flow.pt2")
        return str(torch._inductor.aoti_compile_and_package(program, package_path=path))


def ramp(rows: int) -> torch.Tensor:
    return torch.linspace(-1, 1, 4 * rows).reshape(rows, 4)


def test_in_python_of_any_batch(package: str) -> None:
    model = torch._inductor.aoti_load_package(package)
    for rows in (1, 8, 33):
        with torch.no_grad():
            wanted = flow_of("realnvp").log_prob(ramp(rows))
        torch.testing.assert_close(model(ramp(rows)), wanted, rtol=1e-5, atol=1e-5)


def command(source: Path, target: Path) -> list[str]:
    """What CMake makes of the recipe of docs/deployment.md."""
    ops = cpp.ops_library()
    flags = [f"-I{path}" for path in cpp_extension.include_paths()]
    for path in (*cpp_extension.library_paths(), str(ops.parent)):
        flags += [f"-L{path}", f"-Wl,-rpath,{path}"]
    libraries = [f"-l:{ops.name}", "-ltorch", "-ltorch_cpu", "-lc10"]
    return [
        "c++", "-std=c++20", "-O0", str(source), "-o", str(target), *flags,
        "-Wl,--no-as-needed", *libraries,
    ]  # fmt: skip


def test_in_cpp_without_python(package: str, tmp_path: Path) -> None:
    source, program = tmp_path / "load_model.cpp", tmp_path / "load_model"
    (text,) = re.findall(r"```cpp\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    source.write_text(text)
    subprocess.run(command(source, program), check=True, capture_output=True, text=True)
    linked = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True)
    assert "libpython" not in linked.stdout
    ran = subprocess.run(
        [str(program), package, "5", "4"], capture_output=True, text=True, env={}, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = torch.tensor([float(line) for line in ran.stdout.split()])
    with torch.no_grad():
        wanted = flow_of("realnvp").log_prob(ramp(5))
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
