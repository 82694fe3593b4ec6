"""Builds csrc/cuda for the CPU: the kernels' own source, under sanitizers."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from csrc.building import sources

from .kernels import ROOT, SOURCES

BUILD = ROOT / "build" / "cuda-emulator"
EMULATOR = Path(__file__).with_name("emulator")
SHARED = [ROOT / source for source in sources.PLAIN]
BINDINGS = [
    path
    for path in map(ROOT.joinpath, sources.cuda_bindings())
    if path.stem != "module" and path not in SHARED
]

# Small blocks and short rows reach every branch with little data.
SIZES = ["-DFK_BLOCK_THREADS=64", "-DFK_SHORT_INDEX=2000"]
# What a null pointer, an object's end or a pointer that wrapped around would tell, the address
# sanitizer tells as well, where it is read or written.
SANITIZERS = [
    "-fsanitize=address,undefined",
    "-fno-sanitize=null,object-size,pointer-overflow",
    "-fno-sanitize-recover=undefined",
]
COMMON = ["-std=c++20", "-fPIC", "-g1", f"-I{EMULATOR}", *SIZES]
WARNINGS = ["-Wall", "-Werror=switch", "-Wno-psabi", "-Wno-unknown-pragmas"]
KERNEL = [*COMMON, "-Og", *SANITIZERS, *WARNINGS, "-xc++"]


def missing() -> str | None:
    """What this machine lacks to build and run the emulated kernels, if anything."""
    if shutil.which("g++") is None:
        return "g++ was not found"
    if not Path(runtime("libasan.so")).is_absolute():
        return "g++ has no address sanitizer"
    return None


def runtime(library: str) -> str:
    """The path of one of the compiler's libraries."""
    found = subprocess.run(
        ["g++", f"-print-file-name={library}"], capture_output=True, text=True, check=True
    )
    return found.stdout.strip()


def environment() -> dict[str, str]:
    """For a process that loads what `compile_kernel` or `build` made."""
    return {
        **os.environ,
        "LD_PRELOAD": f"{runtime('libasan.so')}:{runtime('libubsan.so')}",
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "OMP_NUM_THREADS": "1",
    }


@contextmanager
def locked() -> Iterator[None]:
    """One process builds at a time."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _headers() -> bytes:
    value = hashlib.sha256()
    for folder in (
        "csrc/args",
        "csrc/math",
        "csrc/engine",
        "csrc/ops",
        "csrc/cuda",
        "csrc/bindings",
    ):
        for path in sorted((ROOT / folder).rglob("*.h")):
            value.update(path.read_bytes())
    for path in sorted(EMULATOR.glob("*.h")):
        value.update(path.read_bytes())
    return value.digest()


def compile_once(source: Path, command: list[str], headers: bytes, folder: Path = BUILD) -> Path:
    """The object of a source; it is kept as long as all that it is made of is the same."""
    command = [*command, "-c", str(source)]
    key = hashlib.sha256(headers + source.read_bytes() + " ".join(command).encode()).hexdigest()
    name = "_".join(source.relative_to(ROOT).with_suffix("").parts)
    target = folder / f"{name}.{key[:16]}.o"
    if not target.exists():
        for old in folder.glob(f"{name}.*.o"):
            old.unlink()
        temporary = target.with_suffix(".tmp")
        subprocess.run([*command, "-o", str(temporary)], check=True)
        temporary.rename(target)
    return target


def _compile(source: Path, flags: list[str], headers: bytes) -> Path:
    return compile_once(source, ["g++", *flags], headers)


def compile_kernel(source: Path, library: Path) -> None:
    """Builds one free-standing kernel source with the emulator."""
    with locked():
        emulator = _compile(EMULATOR / "emulator.cpp", KERNEL, _headers())
    command = ["g++", *KERNEL, f"-I{ROOT / 'csrc/engine/cuda'}", "-shared", str(source)]
    subprocess.run([*command, "-xnone", str(emulator), "-o", str(library)], check=True)


def kernel_objects(pool: ThreadPoolExecutor) -> list[Future[Path]]:
    """The kernels and what runs them, being compiled; `locked` must be held."""
    headers = _headers()
    sources = [*SOURCES, EMULATOR / "emulator.cpp"]
    return [pool.submit(_compile, s, KERNEL, headers) for s in sources]


def _bindings(flags: list[str], headers: bytes) -> tuple[Path, list[str], bytes]:
    """A source with all bindings, which parses torch's headers once; what is compiled with it."""
    together = BUILD / "bindings.cpp"
    together.write_text("".join(f'#include "{path}"\n' for path in BINDINGS))
    return together, flags, headers + b"".join(path.read_bytes() for path in BINDINGS)


def build() -> Path:
    """The library with all kernels and their bindings, as the CPU's."""
    from torch.utils import cpp_extension

    with locked():
        includes = [*cpp_extension.include_paths(), sysconfig.get_path("include")]
        binding = [*COMMON, "-O0", "-DFK_EMULATED", *(f"-isystem{p}" for p in includes)]
        headers = _headers()
        with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
            waiting = kernel_objects(pool)
            waiting.append(pool.submit(_compile, *_bindings(binding, headers)))
            waiting += [pool.submit(_compile, source, binding, headers) for source in SHARED]
            objects = [str(w.result()) for w in waiting]
        key = hashlib.sha256(" ".join(objects).encode()).hexdigest()[:16]
        library = BUILD / f"libflowkernels_emulated.{key}.so"
        if not library.exists():
            for old in BUILD.glob("libflowkernels_emulated.*.so"):
                old.unlink()
            link = ["g++", "-shared", *SANITIZERS, *objects]
            for path in cpp_extension.library_paths():
                link += [f"-L{path}", f"-Wl,-rpath,{path}"]
            temporary = library.with_suffix(".tmp")
            subprocess.run([*link, "-lc10", "-ltorch_cpu", "-o", str(temporary)], check=True)
            temporary.rename(library)
    return library
