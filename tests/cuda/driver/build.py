"""Builds the driver: for CUDA, or with the kernels on a CPU under sanitizers.

    python -m tests.cuda.driver.build --output DIR [--cpu] [--architecture sm_90] [--jobs N]

Its reference is the CPU's kernels in float64; neither build needs torch.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from csrc.building import graph
from tests.cuda import harness
from tests.cuda.kernels import ROOT, SOURCES, toolkit

HERE = Path(__file__).parent
PLANS = ROOT / "csrc/bindings/bessel_plan.cpp"
# The reference: the copy for every processor, in which float64 is as exact as in any other.
REFERENCE = sorted(p for p in (ROOT / "csrc/cpu").glob("*.cpp") if p.stem != "mlp")
KERNELS = [p for p in REFERENCE if p.stem != "dispatch"]
HOST = ["-std=c++20", "-g1", "-Wall", "-Wextra", "-Wno-psabi"]
REFERENCE_FLAGS = [*HOST, "-DFK_ISA=baseline", "-Wno-unknown-pragmas"]
NVCC = ["-std=c++20", "-O3", "-lineinfo", "-Xcompiler", "-fPIC"]


def _headers() -> bytes:
    value = hashlib.sha256()
    folders = [
        HERE,
        *(ROOT / "csrc" / n for n in ("args", "math", "engine", "ops", "cpu", "cuda", "bindings")),
    ]
    for folder in folders:
        for path in sorted(folder.rglob("*.h")):
            value.update(path.read_bytes())
    return value.digest()


def _link(command: list[str], target: Path) -> Path:
    partial = target.with_suffix(".partial")
    subprocess.run([*command, "-o", str(partial)], check=True)
    partial.replace(target)
    return target


def _built_reference() -> list[Path]:
    """The kernels of the reference, of this checkout's own build, brought up to date; else none."""
    file = ROOT / "build/objects/build.ninja"
    objects = [file.parent / f"kernels/baseline/{path.stem}.o" for path in KERNELS]
    if not file.exists():
        return []
    try:
        ninja = graph.ninja()
    except graph.BuildError:
        return []
    with graph.locked(file.parent):
        command = [ninja, "-f", str(file), *map(str, objects)]
        run = subprocess.run(command, cwd=ROOT, capture_output=True)
    return [] if run.returncode else objects


def _own(device: str) -> list[Path]:
    other = "device_cuda" if device == "device_cpu" else "device_cpu"
    return [p for p in sorted(HERE.glob("*.cpp")) if p.stem != other]


def build_cuda(
    output_dir: Path, objects: Sequence[Path] | None = None, arch: str = "sm_90", jobs: int = 2
) -> Path:
    """Links against CUDA's runtime statically, so that the program runs on another machine.
    `objects` are those of every source of csrc/cuda; without them, they are compiled here.
    """
    folder = Path(output_dir) / "driver-objects"
    folder.mkdir(parents=True, exist_ok=True)
    cuda = toolkit()
    if cuda is None:
        raise FileNotFoundError("nvcc was not found on PATH or in /usr/local/cuda/bin")
    headers = _headers()
    include = f"-I{cuda / 'include'}"
    with ThreadPoolExecutor(jobs) as pool:
        waiting = []
        if objects is None:
            nvcc = [str(cuda / "bin/nvcc"), *NVCC, f"-arch={arch}"]
            waiting += [
                pool.submit(harness.compile_once, s, nvcc, headers, folder) for s in SOURCES
            ]
        for sources, command in (
            (_own("device_cuda"), ["c++", *HOST, "-O2", include]),
            ([*REFERENCE, PLANS], ["c++", *REFERENCE_FLAGS, "-O2", include]),
        ):
            waiting += [
                pool.submit(harness.compile_once, s, command, headers, folder) for s in sources
            ]
        found = [str(w.result()) for w in waiting]
    found += [str(o) for o in objects or ()]
    libraries = [f"-L{cuda / 'lib64'}", "-lcudart_static", "-ldl", "-lrt", "-lpthread"]
    link = ["c++", *found, *libraries, "-static-libstdc++", "-static-libgcc", "-s"]
    return _link(link, Path(output_dir) / "driver")


def build_cpu(output_dir: Path, jobs: int = 2) -> Path:
    """With the kernels of tests/cuda/emulator, under the address and undefined sanitizers."""
    folder = Path(output_dir) / "driver-cpu-objects"
    folder.mkdir(parents=True, exist_ok=True)
    headers = _headers() + b"".join(p.read_bytes() for p in harness.EMULATOR.glob("*.h"))
    own = ["c++", *harness.COMMON, *harness.SANITIZERS, "-O1", "-Wall", "-Wextra", "-Wno-psabi"]
    own.append("-DFK_DRIVER_ON_CPU")
    # Of all levels, -O1 compiles fastest; tiny sizes need no more.
    plain = ["c++", *REFERENCE_FLAGS, "-O1", f"-I{harness.EMULATOR}"]
    with harness.locked(), ThreadPoolExecutor(jobs) as pool:
        kernels = harness.kernel_objects(pool)
        built = _built_reference()
        reference = [PLANS, *(p for p in REFERENCE if not built or p not in KERNELS)]
        waiting = [
            pool.submit(harness.compile_once, source, command, headers, folder)
            for sources, command in ((_own("device_cpu"), own), (reference, plain))
            for source in sources
        ]
        found = [*map(str, built), *(str(w.result()) for w in (*kernels, *waiting))]
        link = ["c++", "-pie", *harness.SANITIZERS, *found, "-ldl"]
        return _link(link, Path(output_dir) / "driver-cpu")


def main() -> None:
    """Builds one of the two."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--cpu", action="store_true", help="the kernels on a CPU, sanitized")
    parser.add_argument("--architecture", default="sm_90")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    chosen.output.mkdir(parents=True, exist_ok=True)
    if chosen.cpu:
        print(build_cpu(chosen.output, chosen.jobs))
    else:
        print(build_cuda(chosen.output, arch=chosen.architecture, jobs=chosen.jobs))


if __name__ == "__main__":
    sys.exit(main())
