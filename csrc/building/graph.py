"""Compiles and links the CPU's parts, with ninja.

Everything is one graph: kernels of all instruction sets, bindings for each torch, entries for each
Python. The result lies below `compiled/` in the package:

    libflowkernels_kernels.so
    torch_2_13/libflowkernels_torch.so
    torch_2_13/_C.cpython-311-x86_64-linux-gnu.so
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import sources

# The libraries of torch that ours name, so that the loader finds them wherever torch is.
TORCH_LIBRARIES = ("c10", "torch_cpu")
PYTHON_LIBRARIES = (*TORCH_LIBRARIES, "torch_python")
MAC = platform.system() == "Darwin"
SHARED = ".dylib" if MAC else ".so"


class BuildError(Exception):
    """What is wrong, and what to do."""


@dataclass(frozen=True)
class Torch:
    """A minor version of torch, by its headers."""

    version: str  # "2.13"
    includes: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where the parts for this torch lie; python_ops/_extension.py looks there."""
        return "torch_" + self.version.replace(".", "_")


@dataclass(frozen=True)
class Python:
    """A version of Python, by its headers."""

    include: str
    suffix: str  # of extension modules: ".cpython-311-x86_64-linux-gnu.so"


def compiler() -> list[str]:
    """The C++ compiler, with the options that $CXX has."""
    return shlex.split(os.environ.get("CXX", "c++"))


def is_gcc(command: list[str]) -> bool:
    """Whether it is GCC; Clang, which names other files and takes other options, is not."""
    run = subprocess.run(
        [*command, "-dM", "-E", "-x", "c++", os.devnull], capture_output=True, text=True
    )
    return "#define __GNUC__ " in run.stdout and "__clang__" not in run.stdout


def ninja() -> str:
    """The path of ninja: the one on PATH, or of the package of this Python."""
    found = shutil.which("ninja")
    if found is None:
        try:
            import ninja as package
        except ModuleNotFoundError:
            raise BuildError("ninja was not found.", "pip install ninja") from None
        found = str(Path(package.BIN_DIR) / "ninja")
    return found


def _escaped(text: object) -> str:
    return str(text).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")


@dataclass
class Graph:
    """A file for ninja, in the making; paths are absolute, or relative to the checkout."""

    folder: Path  # objects
    package: Path  # results: <package>/compiled
    lines: list[str] = field(default_factory=list)
    ahead: set[Torch] = field(default_factory=set)  # whose headers are compiled ahead
    gcc: bool = field(default_factory=lambda: is_gcc(compiler()))

    def rule(self, name: str, command: list[str], shown: str, dependencies: bool = False) -> None:
        """Adds a rule; `$in`, `$out` and variables stand in the command."""
        self.lines += [f"rule {name}", f"  command = {' '.join(command)}"]
        self.lines += [f"  description = {shown} $out"]
        if dependencies:
            self.lines += ["  depfile = $out.d", "  deps = gcc"]

    def edge(
        self,
        target: Path,
        rule: str,
        inputs: list[str],
        after: Sequence[str] = (),
        **variables: str,
    ) -> str:
        """Adds one step; returns the path of what it makes."""
        needs = f" | {' '.join(map(_escaped, after))}" if after else ""
        self.lines.append(
            f"build {_escaped(target)}: {rule} {' '.join(map(_escaped, inputs))}{needs}"
        )
        self.lines += [f"  {name} = {value}" for name, value in variables.items()]
        return str(target)

    # ---- compilations --------------------------------------------------------------------

    def compiled(self, where: str, source: str, flags: list[str], after: Sequence[str] = ()) -> str:
        """The object of a source, in the folder `where`."""
        target = self.folder / where / Path(source).with_suffix(".o").name
        return self.edge(target, "compile", [source], after, flags=shlex.join(flags))

    def kernels(self) -> list[str]:
        """The objects of libflowkernels_kernels."""
        made = []
        for isa, flags in reversed(sources.ISA_FLAGS.items()):
            every = [*sources.KERNEL_FLAGS, f"-DFK_ISA={isa}", *flags]
            made += [self.compiled(f"kernels/{isa}", s, every) for s in sources.cpu_kernels()]
        return made + [self.compiled("kernels", s, sources.BINDING_FLAGS) for s in sources.plain()]

    def with_torch(self, torch: Torch) -> tuple[list[str], list[str]]:
        """Flags for sources that include torch's headers, and what must be made before them."""
        flags = [*sources.BINDING_FLAGS, *(f"-isystem{p}" for p in torch.includes)]
        if not self.gcc:
            return flags, []
        header = self.folder / torch.folder / sources.TORCH_HEADERS.name
        ahead = self.folder / torch.folder / f"{header.name}.gch"
        if torch not in self.ahead:
            self.ahead.add(torch)
            self.edge(header, "copy", [str(sources.TORCH_HEADERS)])
            self.edge(ahead, "compile_header", [str(header)], flags=shlex.join(flags))
        return [*flags, "-Winvalid-pch", "-include", str(header)], [str(ahead)]

    def bindings(self, torch: Torch) -> list[str]:
        """The objects of libflowkernels_torch."""
        return self.joined(torch.folder, sources.torch_bindings(), *self.with_torch(torch))

    def joined(
        self, where: str, paths: list[str], flags: list[str], after: Sequence[str] = ()
    ) -> list[str]:
        """The objects of sources, of which some are compiled together."""
        alone, units = dict.fromkeys(paths), []
        for names in sources.TOGETHER:
            group = [f"csrc/{name}.cpp" for name in names]
            if all(path in alone for path in group):
                units.append(self.together("_".join(Path(path).stem for path in group), group))
                for path in group:
                    del alone[path]
        return [self.compiled(where, s, flags, after) for s in (*units, *alone)]

    def together(self, name: str, paths: list[str]) -> str:
        """A source that includes others."""
        target = self.folder / "together" / f"{name}.cpp"
        text = "".join(f'#include "{sources.ROOT / path}"\n' for path in paths)
        if not target.exists() or target.read_text() != text:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        return str(target)

    def entries(self, torch: Torch, python: Python) -> list[str]:
        """The objects of _C."""
        flags, ahead = self.with_torch(torch)
        where = f"{torch.folder}/{python.suffix.split('.')[1]}"
        flags = [*flags, f"-isystem{python.include}"]
        return self.joined(where, sources.python_bindings(), flags, ahead)

    # ---- libraries -----------------------------------------------------------------------

    def library(self, target: Path, objects: list[str], ours: list[str], theirs: list[str]) -> str:
        """A shared library from objects, our other libraries and names of torch's."""
        origin = "@loader_path" if MAC else "$$ORIGIN"
        paths = [f"-Wl,-rpath,'{origin}'", f"-Wl,-rpath,'{origin}/..'"] if ours else []
        if MAC:
            name = ["-bundle"] if target.name.startswith("_C") else [
                "-dynamiclib", f"-Wl,-install_name,@rpath/{target.name}",
            ]  # fmt: skip
            flags = [*name, "-undefined", "dynamic_lookup", *paths]
        else:
            flags = ["-shared", f"-Wl,-soname,{target.name}", *paths]
        needed = [] if MAC else [self.named(library) for library in theirs]
        return self.edge(target, "link", [*objects, *ours, *needed], flags=" ".join(flags))

    def named(self, library: str) -> str:
        """An empty library of this name, to link with: torch's own are found when ours load.

        So headers are all that is needed of a torch, and no path of a build machine remains.
        """
        target = self.folder / "named" / f"lib{library}{SHARED}"
        text = f"build {_escaped(target)}: name"
        if text not in self.lines:
            self.lines += [text, f"  flags = -Wl,-soname,{target.name}"]
        return str(target)

    def write(self, pairs: list[tuple[Torch, Python]]) -> Path:
        """The whole graph, as a file."""
        compile_ = [*compiler(), *shlex.split(os.environ.get("CPPFLAGS", ""))]
        own = shlex.split(os.environ.get("CXXFLAGS", ""))
        every = [shlex.join(compile_), "-fPIC", "$flags", shlex.join(own), "-MD -MF $out.d"]
        self.rule("compile", [*every, "-c $in -o $out"], "compile", True)
        self.rule("compile_header", [*every, "-w -x c++-header $in -o $out"], "compile", True)
        self.rule("copy", ["cp $in $out"], "copy")
        link = shlex.join(compiler())
        keep = "" if MAC else "-Wl,--no-as-needed"
        last = shlex.join(shlex.split(os.environ.get("LDFLAGS", "")))
        self.rule("link", [link, keep, "$in -o $out $flags", last], "link")
        self.rule("name", [link, f"-shared -nostdlib -x c++ {os.devnull} -o $out $flags"], "name")
        compiled = self.package / "compiled"
        objects = {torch: self.bindings(torch) for torch in dict.fromkeys(t for t, _ in pairs)}
        kernels = self.library(compiled / f"libflowkernels_kernels{SHARED}", self.kernels(), [], [])
        ops = {
            torch: self.library(
                compiled / torch.folder / f"libflowkernels_torch{SHARED}",
                objects[torch], [kernels], list(TORCH_LIBRARIES),
            )
            for torch in objects
        }  # fmt: skip
        for torch, python in pairs:
            self.library(
                compiled / torch.folder / f"_C{python.suffix}",
                self.entries(torch, python), [ops[torch], kernels], list(PYTHON_LIBRARIES),
            )  # fmt: skip
        file = self.folder / "build.ninja"
        file.parent.mkdir(parents=True, exist_ok=True)
        head = ["ninja_required_version = 1.5", f"builddir = {_escaped(self.folder)}"]
        text = "\n".join([*head, *self.lines, ""])
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
        return file


def libraries(package: Path, torch: Torch) -> list[Path]:
    """The shared libraries that _C needs, below the package."""
    compiled = package / "compiled"
    return [
        compiled / f"libflowkernels_kernels{SHARED}",
        compiled / torch.folder / f"libflowkernels_torch{SHARED}",
    ]


def build(package: Path, pairs: list[tuple[Torch, Python]]) -> None:
    """Makes the libraries and modules for each pair; objects that are up to date stay."""
    folder = sources.ROOT / "build" / "objects"
    jobs = os.environ.get("MAX_JOBS")
    # ccache does not take compiled headers unless it may ignore these differences: a macro of
    # the command line that a header does not use, and the time of day, which none here reads.
    environment = {"CCACHE_SLOPPINESS": "pch_defines,time_macros", **os.environ}
    with locked(folder):
        file = Graph(folder, package.resolve()).write(pairs)
        command = [ninja(), "-f", str(file), *(["-j", jobs] if jobs else [])]
        run = subprocess.run(command, cwd=sources.ROOT, env=environment)
    if run.returncode:
        raise BuildError(
            "a compilation failed; the compiler's message is above.",
            "CXX=... chooses another compiler, MAX_JOBS=1 needs the least memory.",
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Two builds at once in one checkout would write each other's objects."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        except ImportError:  # not on every system
            pass
        yield
