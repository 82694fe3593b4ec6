"""Builds flowkernels._C under a sanitizer, with the kernels of one instruction set.

The flags and sources are those of csrc/building, except for the optimization level. The extension
lies in a package folder of its own under build/, whose other files are links into the checkout.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

from benchmarks.gpu import compilation, tree
from benchmarks.gpu.compilation import Result, Step
from benchmarks.gpu.tree import ROOT
from csrc.building import sources

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "sanitize"
KINDS = ("address,undefined", "thread")
ISAS = ("baseline", "avx2", "avx512")  # of setup.py on x86-64, the least first
SANITIZERS = {
    # What a null pointer or an object's end would tell, the address sanitizer tells as well;
    # `vptr` needs the type information of classes of torch that are hidden.
    "address,undefined": (
        "-fsanitize=address,undefined", "-fno-sanitize=null,object-size,vptr",
    ),
    "thread": ("-fsanitize=thread",),
}  # fmt: skip
COMMON = ("-O1", "-g1", "-fno-omit-frame-pointer", "-fPIC", "-w")


def folder_of(kind: str) -> Path:
    """Where the objects of a kind of sanitizer are kept."""
    return BUILD / kind.replace(",", "-")


def _flags(kind: str, flags: list[str]) -> tuple[str, ...]:
    own = [f for f in flags if not f.startswith(("-O", "-g", "-W"))]
    return (*own, *SANITIZERS[kind], *COMMON)


def steps(kind: str, isa: str) -> list[Step]:
    """The compilations of the kernels of an instruction set, and of the bindings."""
    setup, compiler = compilation.setup(), os.environ.get("CXX", "c++")
    kernel = (*_flags(kind, sources.KERNEL_FLAGS), f"-DFK_ISA={isa}", *sources.ISA_FLAGS[isa])
    found = [Step(f"{isa}/{Path(s).stem}", s, compiler, kernel) for s in sources.cpu_kernels()]
    binding = _flags(kind, sources.BINDING_FLAGS)
    places = (*setup.cpp_extension.include_paths(), sysconfig.get_path("include"))
    against = f"torch {setup.torch.__version__}, Python {sysconfig.get_python_version()}"
    if kind == "thread":
        threads = HERE / "threads"
        binding = (f"-I{threads.relative_to(ROOT)}", *(f for f in binding if f != "-fopenmp"))
        header = threads / "ATen" / "ParallelOpenMP.h"
        against += hashlib.sha256(header.read_bytes()).hexdigest()[:16]
    for source in sources.cpu_bindings():
        name = str(Path(source).relative_to("csrc").with_suffix(""))
        found.append(Step(name, source, compiler, binding, places, against))
    return found


def extension(
    kind: str, isa: str, jobs: int = 1, each: Callable[[Result], None] = lambda r: None
) -> Path:
    """The folder to put in front of Python's path; compiles what has changed."""
    objects = folder_of(kind) / "objects"
    while True:  # again where a source has changed during a compilation
        wanted = {objects / s.object_name(s.digest()): s for s in steps(kind, isa)}
        missing = [step for path, step in wanted.items() if not path.exists()]
        if not missing:
            break
        for result in compilation.compile_all(missing, objects, jobs, each):
            if result.problem:
                raise RuntimeError(f"{result.step.source}: {result.problem}")
            for old in objects.glob(f"{result.step.name.replace('/', '-')}.*.o"):
                if old != result.path:
                    old.unlink()
    package = folder_of(kind) / isa
    _link_the_sources(package)
    _link(kind, list(wanted), tree.compiled(package) / compilation.setup().TORCH.folder)
    return package


def _link_the_sources(package: Path) -> None:
    """`package/flowkernels`: the checkout's own modules, without its extensions."""
    target = package / "flowkernels"
    target.mkdir(parents=True, exist_ok=True)
    places = {p.name: p for p in (ROOT / "flowkernels").iterdir() if p.name != "compiled"}
    places["ops"] = ROOT / "python_ops"
    for name, source in places.items():
        link = target / name
        if name != "__pycache__" and not link.is_symlink():
            link.symlink_to(source)


def _link(kind: str, objects: list[Path], target: Path) -> None:
    torch_libraries = compilation.setup().cpp_extension.library_paths()
    libraries = [f"-l{n}" for n in ("torch", "torch_cpu", "torch_python", "c10")]
    name = "_C" + str(sysconfig.get_config_var("EXT_SUFFIX"))
    target.mkdir(parents=True, exist_ok=True)
    partial = target / f"{name}.partial"
    command = ["c++", "-shared", SANITIZERS[kind][0], *map(str, objects), "-o", str(partial)]
    command += [*(f"-L{p}" for p in torch_libraries), *libraries]
    subprocess.run(command, check=True)
    partial.replace(target / name)
