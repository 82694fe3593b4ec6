"""Issue slots, registers, resident warps and bytes in flight of every CUDA kernel of sm_90.

    python -m tests.cuda.slots

compiles what has changed and prints a line for each kernel and size of element, beside the
slots that it may use: those of slots.toml. A kernel that needs more is a problem unless
slots.toml gives the reason; so is a reason that no kernel needs.

An H100 issues 128 instructions of threads a clock and multiprocessor while memory brings 12.95
bytes, at 3.0 TB/s and 1.755 GHz, so a byte pays for 9.88 slots. A kernel sustains about 80 % of
them (75 to 85). To run at 90 % of a copy a forward may use 9.88 x 0.80 / 0.90 slots a byte, and
at 80 % a backward 9.88 x 0.80 / 0.80. How slots are counted: paths.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tomllib

from . import machine_code, paths

RULES = Path(__file__).with_name("slots.toml")
ARCHITECTURE = "sm_90"
SLOTS_A_BYTE = 9.88
SUSTAINED = 0.80
OF_A_COPY = {"forward": 0.90, "backward": 0.80}
REGISTERS, WARPS, BLOCKS, BLOCK_THREADS = 65536, 64, 32, 128


@dataclass(frozen=True)
class Rule:
    """What a kind of kernel does to an element.

    kernel    regular expression for the whole name; a group `n` gives `elements`
    operands  elements that are read and written for each element
    count     "path": of the whole kernel; "loops": of its innermost loops; "longest": of the
              longest of them; "none": nothing bounds it, for the reason given
    elements  that a thread handles in a pass
    pack      elements of an access, beside single ones; 0: as many as are 16 bytes
    """

    kernel: str
    direction: str = "forward"
    operands: float = 1
    count: str = "path"
    elements: int = 0
    pack: int = 1
    reason: str = ""


@dataclass(frozen=True)
class Excess:
    """Kernels that may use more slots than pay, and why."""

    kernel: str
    bytes: list[int]
    reason: str


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    size: int  # of an element
    slots: float | None
    budget: float | None
    registers: int
    flight: int

    def over(self) -> bool:
        return self.slots is not None and self.budget is not None and self.slots > self.budget


def rules(path: Path = RULES) -> tuple[list[Rule], list[Excess]]:
    """The rules in their order; the first that fits a kernel holds for it."""
    stored = tomllib.loads(path.read_text())
    return [Rule(**r) for r in stored["rule"]], [Excess(**e) for e in stored.get("excess", [])]


def budget(direction: str, size: int, operands: float) -> float:
    """The slots an element may use."""
    return SLOTS_A_BYTE * SUSTAINED / OF_A_COPY[direction] * size * operands


def resident_warps(registers: int) -> int:
    """How many warps of blocks of BLOCK_THREADS the registers of a multiprocessor hold."""
    threads = -(-registers // 8) * 8 * BLOCK_THREADS
    return min(BLOCKS, REGISTERS // threads) * (BLOCK_THREADS // 32)


def sizes_of(name: str) -> tuple[int, ...]:
    """Bytes of the elements that a kernel is for; row programs in float32 are also for halves."""
    if "double" in name:
        return (8,)
    if name.startswith("row_kernel"):
        return (4, 2)
    return (2,) if re.search(r"<(Half|Bfloat16)|>, (Half|Bfloat16)", name) else (4,)


def rows_of(name: str, program: paths.Program, registers: int, among: list[Rule]) -> list[Row]:
    """A kernel's lines of the table; raises LookupError where no rule fits it."""
    for rule in among:
        if match := re.fullmatch(rule.kernel, name):
            break
    else:
        raise LookupError(f"{name}: {RULES.name} has no rule for it")
    rows = []
    for size in sizes_of(name):
        pack = rule.pack or 16 // size
        flight = paths.bytes_in_flight(program, size, pack)
        slots = most = None
        if rule.count != "none":
            elements = rule.elements or int(match["n"])
            slots = paths.slots(program, size, pack, elements, rule.count)
            most = budget(rule.direction, size, rule.operands)
        rows.append(Row(name, size, slots, most, registers, flight))
    return rows


def check(rows: list[Row], among: list[Rule], excesses: list[Excess]) -> list[str]:
    """What is wrong: kernels over their budget without a reason, reasons without a kernel."""
    problems = []
    used = set()
    for row in rows:
        if not row.over():
            continue
        found = [
            e for e in excesses if re.fullmatch(e.kernel, row.name) and row.size in e.bytes
        ]  # fmt: skip
        used.update(e.kernel for e in found)
        if not found:
            problems.append(
                f"{row.name}, {row.size} bytes: {row.slots:.1f} slots an element, {row.budget:.1f}"
                f" pay for themselves, and {RULES.name} gives no reason"
            )
    problems += [
        f"{RULES.name}: no kernel like {e.kernel} is over its budget: its reason is stale"
        for e in excesses
        if e.kernel not in used
    ]
    problems += [f"{RULES.name}: {r.kernel} is not counted, and why is not said"
                 for r in among if r.count == "none" and not r.reason]  # fmt: skip
    return problems


def table(rows: list[Row]) -> str:
    """One line a kernel and size of element."""
    header = ["kernel", "bytes", "slots", "budget", "reg", "warps", "in flight"]
    lines = [header]
    for r in rows:
        warps = resident_warps(r.registers)
        counts = ["-", "-"] if r.slots is None else [f"{r.slots:.1f}", f"{r.budget:.1f}"]
        flight = f"{r.flight * 32 * warps / 1024:.0f} KiB"
        mark = " *" if r.over() else ""
        lines.append([r.name + mark, str(r.size), *counts, str(r.registers), str(warps), flight])
    wide = [max(len(line[i]) for line in lines) for i in range(len(header))]
    cells = [list(zip(line, wide, strict=True)) for line in lines]
    return "\n".join(
        "  ".join(f"{c:{w}}" if i == 0 else f"{c:>{w}}" for i, (c, w) in enumerate(line))
        for line in cells
    )


def disassembled(cubin: Path, tool: str) -> dict[str, paths.Program]:
    """The kernels of a compiled file, by their mangled names."""
    run = subprocess.run([tool, "-c", str(cubin)], capture_output=True, text=True, check=True)
    return paths.parse(run.stdout)


def report(kernels: list[tuple[str, paths.Program, int]]) -> list[str]:
    """Prints the table of (name, program, registers); returns what is wrong."""
    among, excesses = rules()
    rows: list[Row] = []
    problems = []
    # A header's kernels are in every source that includes it.
    for name, (program, registers) in sorted({k[0]: k[1:] for k in kernels}.items()):
        try:
            rows += rows_of(name, program, registers, among)
        except LookupError as error:
            problems.append(str(error))
    print(f"\nslots an element on {ARCHITECTURE}; * over the budget: see {RULES.name}")
    print(table(rows))
    return problems + check(rows, among, excesses)


def main() -> int:
    """Compiles for one architecture, prints, and returns the number of problems."""
    from . import compile_all

    nvcc, tool = shutil.which("nvcc"), machine_code.disassembler()
    if nvcc is None or tool is None:
        print(f"{'nvcc' if nvcc is None else 'nvdisasm'} was not found: there is nothing to count")
        return 1
    found = []
    for source, kernels in compile_all.compile_sources(nvcc, (ARCHITECTURE,)):
        programs = disassembled(compile_all.cubin_of(source, ARCHITECTURE), tool)
        found += [(k.name, programs[k.symbol], k.registers) for k in kernels]
    problems = report(found)
    for problem in problems:
        print(f"FAILED {problem}")
    return min(len(problems), 125)


if __name__ == "__main__":
    sys.exit(main())
