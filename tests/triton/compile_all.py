"""Compiles every Triton kernel for NVIDIA and AMD GPUs, without one.

    python -m tests.triton.compile_all            every variant, a table, exit status
    python -m tests.triton.compile_all --quick    what the test-suite compiles

Spills, and memory of a thread's own, are failures unless ALLOWED gives the reason.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import triton
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from .variants import DTYPES, Launch, launches

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
CUOBJDUMP = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"

# Part of a row's label: why its spills are accepted.
ALLOWED: dict[str, str] = {
    # ptxas chooses 80 registers for it and spills 8 bytes
    "rational_quadratic_spline fp64, 8 bins": "one number, for one more warp",
    "rational_quadratic_spline fp64, circular": "one number, for one more warp",
    "affine_coupling_backward fp64, softclip": "one number, saved across calls of division",
    # sm_80: ptxas chooses 64 registers for it and spills 8 bytes
    "affine_coupling_backward fp32, split, short rows": "two numbers, for one more warp",
    "vmf_log_prob fp64, wide": "one number, once a row of 65536, saved across calls of division",
    # sm_80: stored before the loop over a row's tiles, read after it
    "stereographic_inverse_backward fp64, wide rows": "one number, once a row, saved across a loop",
}


@dataclass
class Compiled:
    """One kernel for one target."""

    label: str
    target: str
    size: int
    registers: int
    spilled: int  # bytes of a thread's own memory
    widest_load: int  # bytes


def source_of(launch: Launch) -> ASTSource:
    """What Triton's launcher makes of a launch: types, and what is known of the values."""
    names = launch.kernel.arg_names
    values = dict(zip(names, launch.args, strict=False)) | launch.options
    signature: dict[str, str] = {}
    constants: dict[str, Any] = {}
    attributes: dict[tuple[int], list[list[Any]]] = {}
    for i, parameter in enumerate(launch.kernel.params):
        value = values[parameter.name]
        general = parameter.do_not_specialize
        one = isinstance(value, int) and value == 1 and not general
        if parameter.is_constexpr or value is None or one:
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        elif parameter.annotation_type:
            signature[parameter.name] = parameter.annotation_type
        elif isinstance(value, Tensor):
            signature[parameter.name] = f"*{DTYPES[value.dtype]}"
            attributes[(i,)] = [["tt.divisibility", 16]]
        else:
            assert isinstance(value, int), f"{parameter.name} is a {type(value).__name__}"
            signature[parameter.name] = "i32" if value < 2**31 else "i64"
            if value % 16 == 0 and not general:
                attributes[(i,)] = [["tt.divisibility", 16]]
    return ASTSource(launch.kernel, signature, constants, attributes)


def _of_cubin(cubin: bytes, ptx: str) -> tuple[int, int, int]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [CUOBJDUMP, "--dump-resource-usage", file.name],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", text)
    assert found, text
    registers, stack, local = map(int, found.groups())
    loads = re.findall(r"ld\.global(?:\.\w+)*?(?:\.v(\d))?\.b(\d+)", ptx)
    return registers, stack + local, max((int(v or 1) * int(b) // 8 for v, b in loads), default=0)


def _of_assembly(text: str) -> tuple[int, int, int]:
    def number(name: str) -> int:
        found = re.search(rf"\.{name}:\s+(\d+)", text)
        assert found, f"no {name} in the assembly"
        return int(found.group(1))

    spilled = number("private_segment_fixed_size") + number("vgpr_spill_count")
    words = {"dwordx4": 16, "dwordx2": 8, "dword": 4, "ushort": 2}
    loads = re.findall(r"(?:global|buffer)_load_(dwordx4|dwordx2|dword|ushort)\b", text)
    return number("vgpr_count"), spilled, max((words[w] for w in loads), default=0)


def compile_for(launch: Launch, target: str) -> Compiled:
    """Compiles one launch to the machine code of one target."""
    options = {"num_warps": launch.options["num_warps"], "enable_fp_fusion": True}
    kernel = triton.compile(source_of(launch), target=TARGETS[target], options=options)
    if TARGETS[target].backend == "cuda":
        binary = kernel.asm["cubin"]
        facts = _of_cubin(binary, kernel.asm["ptx"])
    else:
        binary = kernel.asm["hsaco"]
        facts = _of_assembly(kernel.asm["amdgcn"])
    return Compiled(launch.label, target, len(binary), *facts)


def problem(row: Compiled) -> str | None:
    """What is wrong with a compiled kernel, if anything."""
    if row.spilled and not any(part in row.label for part in ALLOWED):
        return f"{row.label} on {row.target}: {row.spilled} bytes spilled"
    return None


def main() -> int:
    """Prints the table; 1 where something does not compile or spills."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only what the test-suite compiles")
    parser.add_argument("--only", default="", help="only kernels with this in their label")
    options = parser.parse_args()
    print(f"Triton {triton.__version__}, torch {torch.__version__}")
    print(f"{'kernel':58} {'target':7} {'bytes':>7} {'regs':>5} {'spilled':>7} {'load':>5}")
    start, problems, count = time.perf_counter(), [], 0
    for launch in launches(options.quick):
        if options.only not in launch.label:
            continue
        for target in TARGETS:
            count += 1
            try:
                row = compile_for(launch, target)
            except Exception as error:
                problems.append(f"{launch.label} on {target}: {type(error).__name__}: {error}")
                continue
            print(f"{row.label:58} {row.target:7} {row.size:7} {row.registers:5} "
                  f"{row.spilled:7} {row.widest_load:4}B")  # fmt: skip
            if found := problem(row):
                problems.append(found)
    print(f"{count} kernels in {time.perf_counter() - start:.0f} s, {len(problems)} problems")
    for line in problems:
        print(f"FAILED {line}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
