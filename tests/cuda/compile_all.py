"""Compiles every CUDA kernel for every architecture, with no GPU and no CUDA build of torch.

    python -m tests.cuda.compile_all [--jobs N]

Prints registers, spills, local and shared memory of each kernel, and the width of its
accesses as its machine code has them. A spill or a local array is a failure unless
allowed.toml lists it with its reason; so are an access narrower than widths.toml allows and
a binding that does not compile. What has not changed since it last compiled is not compiled
again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import tomllib

from csrc.building import sources

from . import machine_code, slots, widths
from .kernels import ROOT, SOURCES, short_name
from .machine_code import Code

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
BUILD = ROOT / "build" / "check-gpu"
SHOWN = "sm_90"  # whose accesses are printed
ALLOWED = Path(__file__).with_name("allowed.toml")

_ENTRY = re.compile(
    r"entry function '(?P<symbol>[^']+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


@dataclass
class Kernel:
    """What ptxas says of one kernel; memory in bytes."""

    file: str
    arch: str
    name: str
    registers: int
    spills: int
    local: int
    shared: int
    symbol: str

    def needs_reason(self) -> bool:
        """Whether it uses local memory: spilled registers or arrays indexed at run time."""
        return self.spills > 0 or self.local > 0


def parse(log: str, file: str, arch: str) -> list[Kernel]:
    """The kernels of one ``ptxas -v`` log."""
    found = list(_ENTRY.finditer(log))
    demangled = subprocess.run(
        ["c++filt"],
        input="\n".join(m["symbol"] for m in found),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    kernels = []
    for match, symbol in zip(found, demangled, strict=True):
        shared = re.search(r"(\d+) bytes smem", match["rest"])
        kernels.append(
            Kernel(
                file=file,
                arch=arch,
                name=short_name(symbol),
                registers=int(match["registers"]),
                spills=int(match["stores"]) + int(match["loads"]),
                local=int(match["stack"]),
                shared=int(shared[1]) if shared else 0,
                symbol=match["symbol"],
            )
        )
    return kernels


def nvcc_includes(nvcc: str) -> list[str]:
    """The toolkit's own include directories, for a plain C++ compiler."""
    dry = subprocess.run(
        [nvcc, "--dryrun", str(SOURCES[0])], capture_output=True, text=True, check=True
    ).stderr
    directories = re.findall(
        r'"?-I([^"\s]+)', next(x for x in dry.splitlines() if "INCLUDES=" in x)
    )
    return [f"-I{Path(d).resolve()}" for d in directories]


def digest(command: list[str], suffixes: tuple[str, ...]) -> str:
    """Of a command and of every source it may read."""
    value = hashlib.sha256(" ".join(command).encode())
    for path in sorted(p for p in (ROOT / "csrc").rglob("*") if p.suffix in suffixes):
        if "cpu" not in path.relative_to(ROOT / "csrc").parts:
            value.update(path.read_bytes())
    return value.hexdigest()


def compile_kernels(nvcc: str, source: Path, arch: str, flags: list[str]) -> list[Kernel]:
    """Compiles one file for one architecture; raises RuntimeError with nvcc's message."""
    command = [nvcc, *flags, f"-arch={arch}", "-Xptxas", "-v", "-cubin", str(source)]
    cache = BUILD / f"{source.stem}.{arch}.json"
    key = digest(command, (".cu", ".h"))
    output = cubin_of(source, arch)
    stored = json.loads(cache.read_text()) if cache.exists() and output.exists() else {}
    if stored.get("key") == key:
        return [Kernel(**k) for k in stored["kernels"]]
    run = subprocess.run([*command, "-o", str(output)], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{source.name} for {arch}:\n{run.stderr}")
    kernels = parse(run.stderr, source.name, arch)
    temporary = cache.with_suffix(".tmp")
    temporary.write_text(json.dumps({"key": key, "kernels": [asdict(k) for k in kernels]}))
    temporary.replace(cache)
    return kernels


def cubin_of(source: Path, arch: str) -> Path:
    """Where a compiled file is."""
    return BUILD / f"{source.stem}.{arch}.cubin"


def compile_sources(
    nvcc: str, architectures: tuple[str, ...], jobs: int = 2
) -> list[tuple[Path, list[Kernel]]]:
    """Compiles every source; raises RuntimeError with nvcc's message where one does not."""
    BUILD.mkdir(parents=True, exist_ok=True)
    flags = [f for f in sources.NVCC_FLAGS if f != "-lineinfo"]
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [
            (source, pool.submit(compile_kernels, nvcc, source, arch, flags))
            for source in SOURCES
            for arch in architectures
        ]
        return [(source, future.result()) for source, future in waiting]


def read_code(tool: str, source: Path, arch: str) -> dict[str, Code]:
    """The machine code of one compiled file, by mangled names."""
    cubin = cubin_of(source, arch)
    cache = BUILD / f"{source.stem}.{arch}.code.json"
    value = hashlib.sha256(Path(machine_code.__file__).read_bytes())
    value.update(tool.encode() + cubin.read_bytes())
    key = value.hexdigest()
    if not cache.exists() or json.loads(cache.read_text())["key"] != key:
        codes = {name: asdict(code) for name, code in machine_code.read(cubin, tool).items()}
        temporary = cache.with_suffix(".tmp")
        temporary.write_text(json.dumps({"key": key, "codes": codes}))
        temporary.replace(cache)
    stored = json.loads(cache.read_text())["codes"]
    return {name: Code.of(code) for name, code in stored.items()}


def compile_bindings(nvcc: str, flags: list[str], cuda_bindings: list[str]) -> list[str]:
    """Type-checks the bindings against the installed torch; returns what went wrong.

    A CPU build of torch has the CUDA headers but for one that its build generates.
    """
    from torch.utils import cpp_extension

    stub = BUILD / "include" / "c10" / "cuda" / "impl" / "cuda_cmake_macros.h"
    stub.parent.mkdir(parents=True, exist_ok=True)
    stub.write_text("#pragma once\n#define C10_CUDA_BUILD_SHARED_LIBS\n")
    includes = [f"-isystem{p}" for p in cpp_extension.include_paths()]
    includes += [f"-I{BUILD / 'include'}", *nvcc_includes(nvcc)]
    includes.append(f"-isystem{sysconfig.get_path('include')}")
    problems = []
    for source in [ROOT / s for s in cuda_bindings]:
        command = ["c++", *flags, "-DTORCH_EXTENSION_NAME=_C_cuda", *includes, "-fsyntax-only"]
        command.append(str(source))
        stamp = BUILD / f"{source.stem}.binding"
        key = digest(command, (".cpp", ".h"))
        if stamp.exists() and stamp.read_text() == key:
            continue
        run = subprocess.run(command, capture_output=True, text=True)
        if run.returncode:
            problems.append(f"bindings/cuda/{source.name}:\n{run.stderr}")
        else:
            stamp.write_text(key)
    return problems


def allowed(kernel: Kernel, rules: list[dict[str, str]]) -> str | None:
    """The reason that excuses a kernel's local memory, if there is one."""
    for rule in rules:
        if re.fullmatch(rule["kernel"], kernel.name) and kernel.arch in rule.get(
            "arch", kernel.arch
        ):
            return rule["reason"]
    return None


def table(kernels: list[Kernel]) -> str:
    """One line a kernel, registers and local memory by architecture."""
    by_name: dict[tuple[str, str], dict[str, Kernel]] = {}
    for k in kernels:
        by_name.setdefault((k.file, k.name), {})[k.arch] = k
    width = max(len(name) for _, name in by_name)
    lines = [f"{'kernel':{width}}  " + "  ".join(f"{a:>22}" for a in ARCHITECTURES)]
    lines.append(
        f"{'':{width}}  " + "  ".join(f"{'reg spill local shared':>22}" for _ in ARCHITECTURES)
    )
    for (_, name), each in sorted(by_name.items()):
        cells = [
            f"{k.registers:3} {k.spills:5} {k.local:5} {k.shared:6}" if (k := each.get(a)) else ""
            for a in ARCHITECTURES
        ]
        lines.append(f"{name:{width}}  " + "  ".join(f"{c:>22}" for c in cells))
    return "\n".join(lines)


def width_table(kernels: list[tuple[Kernel, Code]]) -> str:
    """One line a kernel of one architecture: what it is made of, and its accesses by bits."""
    columns = ("LDG", "LDGSTS", "STG", "LDS", "STS")
    lines = [["kernel", "reg", "instr", "float64", "mufu", *columns]]
    for kernel, code in sorted(kernels, key=lambda k: (k[0].file, k[0].name)):
        counts = (kernel.registers, code.instructions, code.float64, code.special)
        lines.append([kernel.name, *map(str, counts), *(code.by_width(c) for c in columns)])
    wide = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            f"{cell:{w}}" if i in (0, *range(5, 10)) else f"{cell:>{w}}"
            for i, (cell, w) in enumerate(zip(line, wide, strict=True))
        ).rstrip()
        for line in lines
    )


def check_widths(kernels: list[Kernel]) -> list[str]:
    """Prints the accesses of every kernel; returns those that should be wider."""
    tool = machine_code.disassembler()
    if tool is None:
        return ["nvdisasm was neither on PATH, nor beside nvcc, nor in Triton's package"]
    among = widths.rules()
    problems, shown = [], []
    files = {(k.file, k.arch) for k in kernels}
    codes = {
        (source.name, arch): read_code(tool, source, arch)
        for source in SOURCES
        for arch in ARCHITECTURES
        if (source.name, arch) in files
    }
    for kernel in kernels:
        code = codes[kernel.file, kernel.arch][kernel.symbol]
        problems += widths.check(kernel.name, kernel.arch, code, among)
        if kernel.arch == SHOWN:
            shown.append((kernel, code))
    print(f"\nmachine code for {SHOWN}; accesses as bits x number of instructions")
    print(width_table(shown))
    programs = {
        source.name: slots.disassembled(cubin_of(source, SHOWN), tool)
        for source in SOURCES
        if (source.name, SHOWN) in files
    }
    counted = [(k.name, programs[k.file][k.symbol], k.registers) for k, _ in shown]
    return problems + slots.report(counted)


def main() -> int:
    """Compiles, prints, and returns the number of problems."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    jobs = parser.parse_args().jobs
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("nvcc was not found on PATH: no CUDA kernel was compiled")
        return 1
    BUILD.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    kernels: list[Kernel] = []
    with ThreadPoolExecutor(jobs) as pool:
        flags = [f for f in sources.NVCC_FLAGS if f != "-lineinfo"]
        waiting = [
            pool.submit(compile_kernels, nvcc, source, arch, flags)
            for source in SOURCES
            for arch in ARCHITECTURES
        ]
        for future in waiting:
            try:
                kernels += future.result()
            except RuntimeError as error:
                problems.append(str(error))
    if kernels:
        print(table(kernels))
        problems += check_widths(kernels)
    rules = tomllib.loads(ALLOWED.read_text()).get("allowed", [])
    for kernel in kernels:
        if kernel.needs_reason():
            what = (
                f"{kernel.name} on {kernel.arch}: {kernel.spills} B spilled, {kernel.local} B local"
            )
            reason = allowed(kernel, rules)
            print(f"allowed: {what}: {reason}") if reason else problems.append(what)
    problems += compile_bindings(nvcc, sources.BINDING_FLAGS, sources.cuda_bindings())
    print(f"\n{len(kernels)} CUDA kernels compiled, {len(problems)} problems")
    for problem in problems:
        print(f"FAILED {problem}")
    return min(len(problems), 125)


if __name__ == "__main__":
    sys.exit(main())
