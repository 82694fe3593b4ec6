"""What `make check-gpu` says of the width of accesses can be believed: it sees narrow ones."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from . import machine_code, widths
from .kernels import ROOT
from .machine_code import Code

LISTING = """
	.section	.text.first,"ax",@progbits
first:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P1 LDG.E.128.CONSTANT R4, desc[UR6][R4.64] ;
        /*0020*/                   LDG.E.U16 R4, desc[UR6][R4.64+0x80] ;
        /*0030*/                   LDG.E R7, desc[UR6][R4.64] ;
        /*0040*/              @P0  STG.E.64 desc[UR6][R2.64], R12 ;
        /*0050*/                   LDGSTS.E.BYPASS.LTC128B.128 [R5], desc[UR6][R2.64] ;
        /*0060*/                   DFMA R2, R2, R4, R6 ;
        /*0070*/             @!UP0 UIADD3 UR4, UR4, 0x1, URZ ;
        /*0080*/                   MUFU.RCP R0, R0 ;
        /*0090*/                   NOP ;
	.section	.text.second,"ax",@progbits
        /*0000*/                   STG.E.128 [R2.64], R12 ;
        /*0010*/                   STS.U8 [R2], R12 ;
"""


def test_a_listing_is_read() -> None:
    codes = machine_code.parse(LISTING)
    first, second = codes["first"], codes["second"]
    assert first.accesses == {"LDG": {128: 1, 16: 1, 32: 1}, "STG": {64: 1}, "LDGSTS": {128: 1}}
    assert (first.instructions, first.float64, first.special) == (9, 1, 1)
    assert (first.wide("LDG"), first.narrow("LDG"), first.narrow("STG")) == (1, 2, 1)
    assert first.by_width("LDG") == "128x1 32x1 16x1"
    assert second.accesses == {"STG": {128: 1}, "STS": {8: 1}}


RULE = widths.Rule("move<.*>", "one element", loads=1, stores=1, narrow_loads=0, narrow_stores=1)


@pytest.mark.parametrize(
    ("loads", "stores", "says"),
    [
        ({128: 1}, {128: 2, 32: 1}, []),
        ({128: 1}, {128: 1, 32: 4}, ["4 narrow stores, at most 1 allowed (STG 128x1 32x4)"]),
        ({128: 1}, {64: 1}, ["0 stores of 16 bytes, at least 1 wanted (STG 64x1)"]),
        (
            {32: 4},
            {128: 1},
            [
                "0 loads of 16 bytes, at least 1 wanted (LDG 32x4)",
                "4 narrow loads, at most 0 allowed (LDG 32x4)",
            ],
        ),
    ],
)
def test_a_rule_is_held_to(loads: dict[int, int], stores: dict[int, int], says: list[str]) -> None:
    code = Code(accesses={"LDG": loads, "STG": stores})
    assert widths.check("move<float>", "sm_90", code, [RULE]) == [
        f"move<float> on sm_90: {s}" for s in says
    ]


def test_an_architecture_may_have_numbers_of_its_own() -> None:
    rule = widths.Rule("move", "twice", narrow_loads=1, arch={"sm_100": {"narrow_loads": 2}})
    code = Code(accesses={"LDG": {32: 2}})
    assert len(widths.check("move", "sm_90", code, [rule])) == 1
    assert widths.check("move", "sm_100", code, [rule]) == []


def test_a_kernel_without_a_rule_is_a_problem() -> None:
    assert widths.check("other<float>", "sm_90", Code(), [RULE]) == [
        "other<float> on sm_90: widths.toml has no rule for it"
    ]


def test_every_rule_gives_its_reason() -> None:
    assert widths.rules()
    assert all(rule.reason for rule in widths.rules())


MOVE = """
#include "device.h"
namespace fk::cuda {{
extern "C" __global__ void move(const float* from, float* to) {{
  Values<float, 4> v;
  load_pack(from + 4 * threadIdx.x, v);
  for (int m = 0; m < 4; ++m) v.at[m] = m % 2 ? v.at[m] : 2 * v.at[m];
  {store}
}}
}}
"""


@pytest.mark.parametrize(
    ("store", "widths_of_stores"),
    [
        ("store_pack(to + 4 * threadIdx.x, v);", {128: 1}),
        ("for (int m = 0; m < 4; ++m) to[4 * threadIdx.x + m] = v.at[m];", {32: 4}),
    ],
    ids=["wide", "narrow"],
)
def test_the_reader_tells_wide_from_narrow(
    store: str, widths_of_stores: dict[int, int], tmp_path: Path
) -> None:
    nvcc, tool = shutil.which("nvcc"), machine_code.disassembler()
    if nvcc is None:
        pytest.skip("nvcc was not found: there is no machine code to read")
    if tool is None:
        pytest.skip("nvdisasm was not found: machine code cannot be read")
    source, cubin = tmp_path / "move.cu", tmp_path / "move.cubin"
    source.write_text(MOVE.format(store=store))
    command = [nvcc, "-std=c++20", "-O3", "-arch=sm_90", f"-I{ROOT / 'csrc/engine/cuda'}", "-cubin"]
    subprocess.run([*command, str(source), "-o", str(cubin)], check=True)
    code = machine_code.read(cubin, tool)["move"]
    assert code.accesses == {"LDG": {128: 1}, "STG": widths_of_stores}
    problems = widths.check("move", "sm_90", code, [widths.Rule("move", "", 1, 1, 0, 0)])
    assert (problems == []) == (128 in widths_of_stores)
