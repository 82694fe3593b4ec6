"""Compiles objects on one machine that are then linked on the machine with the GPU.

    python -m benchmarks.gpu.objects [--jobs N] [--architecture sm_90]

Compiles every CUDA and CPU kernel and the driver of tests/cuda/driver into build/gpu-objects and
writes its manifest; also the bindings for this torch and Python, if this torch is built for CUDA.
Objects that are up to date are kept. benchmarks.gpu.build uses an object while its flags and
sources are unchanged.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from csrc.building import sources

from . import tree
from .compilation import (
    Result,
    Step,
    binding_steps,
    compile_all,
    kernel_steps,
    read_by,
    say,
    setup,
)

FOLDER = tree.ROOT / "build" / "gpu-objects"
ARCHITECTURE = "sm_90"  # H100, H200
_DRIVER = "tests/cuda/driver"
# The largest size of the folder that can be transferred with the checkout.
LIMIT = 48 << 20


def _manifest() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((FOLDER / "manifest.json").read_text())
    except (OSError, json.JSONDecodeError):
        return {}
    return found


def _whole(path: Path, entry: dict[str, Any]) -> bool:
    return path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"]


def lookup(step: Step) -> tuple[Path | None, str]:
    """The object of a step, or None and the reason why none can be used."""
    entry = _manifest().get("objects", {}).get(step.name)
    if entry is None:
        return None, "absent"
    files = step.files()
    if entry["digest"] != step.digest(files):
        known = entry["files"]
        changed = [f for f in {**known, **files} if known.get(f) != files.get(f)]
        if not changed and entry["against"] != step.against:
            return None, f"stale: it is for {entry['against']}"
        return None, f"stale: {', '.join(sorted(changed)) or 'its flags'} changed"
    path = FOLDER / entry["object"]
    return (path, "") if _whole(path, entry) else (None, f"{path.name} is damaged or missing")


def fresh(source: Path, isa: str = "", architecture: str = ARCHITECTURE) -> Path | None:
    """The object of a kernel's source if it is up to date, else None.

    isa  the instruction set, for a source of csrc/cpu
    """
    name = f"cpu/{isa}/{source.stem}" if isa else f"cuda/{source.stem}"
    for step in kernel_steps(architecture):
        if step.name == name and (tree.ROOT / step.source).resolve() == source.resolve():
            return lookup(step)[0]
    return None


def driver() -> Path | None:
    """The linked driver if it is up to date, else None."""
    entry = _manifest().get("driver")
    if entry is None or entry["digest"] != _driver_digest():
        return None
    path = FOLDER / entry["file"]
    return path if _whole(path, entry) else None


def _driver_digest() -> str:
    """Digest of the driver, its kernels, and the CPU kernels that are its reference."""
    own = [p for p in (tree.ROOT / _DRIVER).rglob("*") if p.suffix in (".cpp", ".cu", ".h")]
    kernels = sources.find("csrc/cuda/*.cu", "csrc/cpu/*.cpp", *sources.PLAIN)
    own += [tree.ROOT / source for source in kernels]
    read = sorted({p for source in own for p in read_by(source)})
    parts = [p.read_bytes() for p in (*read, tree.ROOT / _DRIVER / "build.py")]
    parts += [" ".join(s.flags).encode() for s in kernel_steps(ARCHITECTURE)]
    return hashlib.sha256(b"".join(hashlib.sha256(p).digest() for p in parts)).hexdigest()[:16]


def _versions() -> dict[str, str]:
    def version(command: str) -> str:
        run = subprocess.run([command, "--version"], capture_output=True, text=True, check=False)
        lines = run.stdout.splitlines() or ["unknown"]
        return next((line for line in lines if "release" in line), lines[0])

    return {"nvcc": version("nvcc"), "c++": version(os.environ.get("CXX", "c++"))}


def _entry(result: Result, versions: dict[str, str]) -> dict[str, Any]:
    data = result.path.read_bytes()
    return {
        "object": result.path.name,
        "source": result.step.source,
        "digest": result.step.digest(result.files),
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "cpu_seconds": round(result.cpu_seconds, 1),
        "compiler": versions["nvcc" if result.step.compiler == "nvcc" else "c++"],
        "flags": " ".join(result.step.flags),
        "against": result.step.against,
        "files": result.files,
    }


def _save(manifest: dict[str, Any]) -> None:
    partial = FOLDER / "manifest.partial"
    partial.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    partial.replace(FOLDER / "manifest.json")


def _make_driver(manifest: dict[str, Any], jobs: int) -> None:
    """Link the driver unless it is up to date or the checkout has none."""
    if not (tree.ROOT / _DRIVER / "build.py").exists():
        manifest.pop("driver", None)
        print(f"no driver: there is no {_DRIVER}/build.py")
        return
    if driver():
        return
    digest = _driver_digest()
    print("building the driver ...", flush=True)
    build = importlib.import_module(f"{_DRIVER.replace('/', '.')}.build")
    kernels = [s for s in kernel_steps(ARCHITECTURE) if s.compiler == "nvcc"]
    objects = [path for s in kernels if (path := lookup(s)[0])]
    built: Path = build.build_cuda(
        tree.ROOT / "build" / "gpu-driver", objects, arch=ARCHITECTURE, jobs=jobs
    )
    to = FOLDER / "driver" / built.name
    to.parent.mkdir(exist_ok=True)
    shutil.copy2(built, to)
    data = to.read_bytes()
    manifest["driver"] = {
        "file": str(to.relative_to(FOLDER)),
        "digest": digest,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
    }


def make(jobs: int, architecture: str = ARCHITECTURE) -> None:
    """Bring the folder up to date; exits with a message on failure."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    steps = kernel_steps(architecture)
    if setup().torch.version.cuda is not None:
        cpu, cuda = binding_steps()
        steps += dict.fromkeys([*cpu, *cuda])
    else:
        print(f"no bindings: torch {setup().torch.__version__} is not built for CUDA")
    manifest: dict[str, Any] = _manifest()
    known = manifest.get("objects", {})
    names = {s.name for s in steps}
    manifest["objects"] = {n: e for n, e in known.items() if n in names}
    manifest["architecture"] = architecture
    missing = [s for s in steps if lookup(s)[0] is None]
    print(f"{len(steps) - len(missing)} of {len(steps)} objects are up to date", flush=True)
    versions = _versions()

    def note(result: Result) -> None:
        say(result)
        if not result.problem:
            manifest["objects"][result.step.name] = _entry(result, versions)
            _save(manifest)

    results = compile_all(missing, FOLDER, jobs, note)
    _save(manifest)
    if failed := [r.step.name for r in results if r.problem]:
        sys.exit(f"not compiled: {', '.join(failed)}")
    _make_driver(manifest, jobs)
    _save(manifest)
    _remove_others(manifest)
    size = sum(p.stat().st_size for p in FOLDER.rglob("*") if p.is_file())
    print(f"{FOLDER}: {len(manifest['objects'])} objects, {size / 2**20:.1f} MiB")
    if size > LIMIT:
        sys.exit(f"larger than {LIMIT >> 20} MiB, the limit of a transfer")


def _remove_others(manifest: dict[str, Any]) -> None:
    """Delete objects that are not in the manifest."""
    kept = {e["object"] for e in manifest["objects"].values()}
    for path in FOLDER.glob("*.o"):
        if path.name not in kept:
            path.unlink()


def main() -> None:
    """Bring build/gpu-objects up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("MAX_JOBS", 2)))
    parser.add_argument("--architecture", default=ARCHITECTURE)
    chosen = parser.parse_args()
    if shutil.which("nvcc") is None:
        sys.exit("nvcc was not found on PATH: no CUDA kernel can be compiled")
    make(chosen.jobs, chosen.architecture)


if __name__ == "__main__":
    main()
