"""The path that a kernel's threads take through its machine code, and what they do on it.

A listing holds every branch of a kernel: an arm for each dtype, rare rows, slow divisions. The
path taken is the one that moves the most elements of a dtype through global memory and, among
those, has the fewest instructions. Loops are gone through once: a thread's registers hold its
share of a row, so a pass is a row. Where a kernel loops over the elements of a row instead, only
its innermost loops count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .machine_code import bits_of

_SECTION = re.compile(r"^\s*\.section\s+\.text\.([^\s,]+)")
_LABEL = re.compile(r"^\s*(\.L[\w.]*|\$\S+):")
_LINE = re.compile(
    r"^\s*/\*[0-9a-f]{4,}\*/\s+\{?\s*(?P<guard>@!?U?PT?\w*)?\s*(?P<op>[A-Z]\w*(?:\.\w+)*)(?P<rest>.*)"
)
_TARGET = re.compile(r"`\((\.L[\w.]*)\)")
_REGISTER = re.compile(r"\bR(\d+)\b")

LOADS = ("LDG", "LD", "LDGSTS")
STORES = ("STG", "ST")
MANY = 10_000  # instructions that an element more is worth: all of a kernel's


@dataclass(frozen=True)
class Instruction:
    """One line of a listing."""

    opcode: str
    operands: str
    conditional: bool
    target: str | None

    @property
    def name(self) -> str:
        return self.opcode.split(".")[0]

    def elements(self, size: int, pack: int) -> int:
        """How many elements of `size` bytes it moves through global memory: one, or a pack."""
        if self.name not in LOADS + STORES:
            return 0
        bits = bits_of(self.opcode)
        return pack if bits == 8 * size * pack else int(bits == 8 * size)

    def registers(self) -> list[int]:
        """Those that it names first: where a load puts what it brings."""
        found = _REGISTER.search(self.operands)
        first = int(found[1]) if found else 0
        return list(range(first, first + max(1, bits_of(self.opcode) // 32)))


@dataclass
class Program:
    """A kernel's instructions, and where its labels are."""

    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    def next_of(self, at: int) -> tuple[list[int], list[int]]:
        """Where control goes after an instruction: forward, and back to a loop's beginning."""
        i = self.instructions[at]
        following = [at + 1] if at + 1 < len(self.instructions) else []
        if i.name in ("EXIT", "RET", "JMP"):
            return (following if i.conditional else []), []
        if i.name != "BRA" or i.target is None:
            return following, []
        to = self.labels[i.target]
        ways = [to, *following] if i.conditional else [to]
        return [w for w in ways if w > at], [w for w in ways if w <= at]


def parse(listing: str) -> dict[str, Program]:
    """The kernels of a disassembler's listing, by their mangled names."""
    programs: dict[str, Program] = {}
    program = Program()
    for line in listing.splitlines():
        if section := _SECTION.match(line):
            program = programs.setdefault(section[1], Program())
        elif label := _LABEL.match(line):
            program.labels[label[1]] = len(program.instructions)
        elif found := _LINE.match(line):
            target = _TARGET.search(found["rest"])
            # A branch may also name its condition among the operands.
            before = found["rest"].split("`")[0]
            conditional = bool(found["guard"]) or bool(
                re.search(r"U?P\d|\.DIV", found["op"] + before)
            )
            program.instructions.append(
                Instruction(found["op"], found["rest"], conditional, target[1] if target else None)
            )
    return programs


def best_path(
    program: Program, size: int, pack: int = 1, begin: int = 0, end: int | None = None
) -> list[int]:
    """The path from `begin` on that moves the most elements in the fewest instructions.

    With `end` it is a path of a loop, from its beginning to the jump back at `end`.
    """
    last = len(program.instructions) - 1 if end is None else end
    worth: dict[int, float] = {}
    way: dict[int, int | None] = {}
    for at in range(last, begin - 1, -1):
        forward, back = program.next_of(at)
        choices = [(worth[to], to) for to in forward if to <= last and to in worth]
        i = program.instructions[at]
        if at == end or (end is None and (i.name == "EXIT" or (back and not forward))):
            choices.append((0.0, -1))
        if not choices:
            continue
        value, to = max(choices)
        own = i.elements(size, pack) * MANY - (i.name != "NOP")
        worth[at], way[at] = value + own, None if to < 0 else to
    path, here = [], begin if begin in worth else None
    while here is not None:
        path.append(here)
        here = way[here]
    return path


def innermost_loops(program: Program) -> list[tuple[int, int]]:
    """The first and last instruction of the loops that hold no other loop."""
    loops = sorted(
        {(to, at) for at in range(len(program.instructions)) for to in program.next_of(at)[1]}
    )
    loops = [(b, e) for b, e in loops if b != e]  # padding jumps to itself
    return [
        (b, e)
        for b, e in loops
        if not any((b, e) != other and b <= other[0] and other[1] <= e for other in loops)
    ]


def touches_memory(program: Program, path: list[int]) -> bool:
    """Whether a path loads or stores, in global or shared memory."""
    names = {program.instructions[i].name for i in path}
    return bool(names & {*LOADS, *STORES, "LDS", "STS"})


def slots(program: Program, size: int, pack: int, elements: int, count: str) -> float:
    """Instructions of a thread for one of its elements, of `size` bytes.

    elements  that a thread handles in a pass of what is counted
    count     "path", of the whole kernel; "loops", of all innermost loops that touch memory;
              "longest", of the longest of them
    """
    if count == "path":
        return len(best_path(program, size, pack)) / elements
    lengths = [0]
    for begin, end in innermost_loops(program):
        path = best_path(program, size, pack, begin, end)
        if touches_memory(program, path):
            lengths.append(len(path))
    return (sum(lengths) if count == "loops" else max(lengths)) / elements


def bytes_in_flight(program: Program, size: int, pack: int) -> int:
    """The most that a thread's loads bring at a time, on the path it takes."""
    pending: dict[int, int] = {}
    most = copies = 0
    for at in best_path(program, size, pack):
        i = program.instructions[at]
        named = {int(r) for r in _REGISTER.findall(i.operands)}
        if i.name in ("LDG", "LD"):
            address = {int(r) for r in _REGISTER.findall(i.operands.split("[")[-1])}
            for register in address:
                pending.pop(register, None)
            for register in i.registers():
                pending[register] = min(bits_of(i.opcode), 32) // 8
        else:
            for register in named:
                pending.pop(register, None)
        if i.name == "LDGSTS":
            copies += bits_of(i.opcode) // 8
        if i.name in ("DEPBAR", "LDGDEPBAR"):
            copies = 0
        most = max(most, sum(pending.values()) + copies)
    return most
