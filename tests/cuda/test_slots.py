"""What `make check-gpu` says of issue slots can be believed: the path is found, rules hold."""

from __future__ import annotations

import pytest

from . import paths, slots
from .slots import Excess, Row, Rule

# A row of one element: an arm for float32, one for halves, a rare detour, then the store.
ROW = """
	.section	.text.row,"ax",@progbits
row:
.text.row:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P1 BRA `(.L_x_1) ;
        /*0020*/                   LDG.E R4, desc[UR6][R2.64] ;
        /*0030*/                   BRA `(.L_x_2) ;
.L_x_1:
        /*0040*/                   LDG.E.U16 R4, desc[UR6][R2.64] ;
        /*0050*/                   IMAD.U32 R4, R4, 0x10000, RZ ;
.L_x_2:
        /*0060*/               @P2 BRA `(.L_x_3) ;
        /*0070*/                   FMUL R4, R4, R4 ;
        /*0080*/                   FADD R4, R4, 1 ;
        /*0090*/                   FADD R4, R4, 2 ;
.L_x_3:
        /*00a0*/                   FMUL R4, R4, R5 ;
        /*00b0*/                   STG.E desc[UR6][R2.64], R4 ;
        /*00c0*/                   EXIT ;
.L_x_4:
        /*00d0*/                   BRA `(.L_x_4);
        /*00e0*/                   NOP ;
"""

LOOP = """
	.section	.text.loop,"ax",@progbits
        /*0000*/                   LDC R1, c[0x0][0x28] ;
.L_x_1:
        /*0010*/                   LDG.E.128 R4, desc[UR6][R2.64] ;
        /*0020*/                   LDG.E.128 R8, desc[UR6][R2.64+0x10] ;
        /*0030*/                   FADD R4, R4, R8 ;
        /*0040*/               @P0 BRA `(.L_x_1) ;
.L_x_2:
        /*0050*/                   IADD3 R1, R1, 0x1, RZ ;
        /*0060*/               @P1 BRA `(.L_x_2) ;
        /*0070*/                   EXIT ;
"""


def test_the_path_of_a_dtype_leaves_out_other_arms_and_detours() -> None:
    program = paths.parse(ROW)["row"]
    single = [program.instructions[i].opcode for i in paths.best_path(program, 4)]
    assert single == ["LDC", "BRA", "LDG.E", "BRA", "BRA", "FMUL", "STG.E", "EXIT"]
    half = [program.instructions[i].opcode for i in paths.best_path(program, 2)]
    assert "LDG.E.U16" in half and "LDG.E" not in half
    assert paths.slots(program, 4, 1, 2, "path") == len(single) / 2


def test_only_loops_that_touch_memory_count() -> None:
    program = paths.parse(LOOP)["loop"]
    assert len(paths.innermost_loops(program)) == 2
    assert paths.slots(program, 4, 4, 4, "loops") == 1  # four instructions, four elements
    assert paths.slots(program, 4, 4, 4, "longest") == 1


def test_loads_are_in_flight_until_they_are_read() -> None:
    program = paths.parse(LOOP)["loop"]
    assert paths.bytes_in_flight(program, 4, 4) == 32
    assert paths.bytes_in_flight(paths.parse(ROW)["row"], 4, 1) == 4


def test_registers_bound_the_resident_warps() -> None:
    assert slots.resident_warps(32) == 64
    assert slots.resident_warps(128) == 16
    assert slots.resident_warps(129) == 12
    assert slots.resident_warps(255) == 8


def row(name: str, taken: float, most: float, size: int = 4) -> Row:
    return Row(name, size, taken, most, 32, 16)


def test_a_kernel_over_its_budget_needs_a_reason() -> None:
    rows = [row("fast", 10, 20), row("slow", 30, 20)]
    assert len(slots.check(rows, [], [])) == 1
    assert slots.check(rows, [], [Excess("slow", [4], "arithmetic")]) == []


@pytest.mark.parametrize("excess", [Excess("fast", [4], "?"), Excess("slow", [2], "?")])
def test_a_reason_without_a_kernel_is_stale(excess: Excess) -> None:
    rows = [row("fast", 10, 20), row("slow", 30, 20)]
    known = Excess("slow", [4], "arithmetic")
    problems = slots.check(rows, [], [known, excess])
    assert all("stale" in p for p in problems)
    assert len(problems) == (excess.kernel != known.kernel)


def test_what_is_not_counted_says_why() -> None:
    assert len(slots.check([], [Rule("any", count="none")], [])) == 1
    assert slots.check([], [Rule("any", count="none", reason="strides")], []) == []


def test_a_kernel_without_a_rule_is_a_problem() -> None:
    with pytest.raises(LookupError, match="no rule"):
        slots.rows_of("other", paths.parse(ROW)["row"], 32, [Rule("row", elements=1)])
    assert len(slots.rows_of("row", paths.parse(ROW)["row"], 32, [Rule("row", elements=1)])) == 1


def test_every_rule_and_every_reason_is_read() -> None:
    among, excesses = slots.rules()
    assert among
    assert all(r.reason for r in among)
    assert all(e.reason for e in excesses)
