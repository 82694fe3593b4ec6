"""Writes the ranges and limits of the mathematics, for C++ and for Triton, from one list.

    python csrc/math/tables/ranges.py            # rewrite both files
    python csrc/math/tables/ranges.py --print    # print them instead

csrc/math/ranges.h has one struct a precision, python_ops/triton/ranges.py pairs of them.
"""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEADER = ROOT / "csrc/math/ranges.h"
MODULE = ROOT / "python_ops/triton/ranges.py"

# name: (float32, float64, what it limits); a string is a power of two.
RANGES: dict[str, tuple[float | int | str, float | int | str, str]] = {
    "projection_square": (1e16, 1e100, "|x|^2 above which a row must be scaled before a "
        "stereographic projection, or below whose inverse before the inverse projection: "
        "beyond it products of rho and |x| leave the normal numbers"),
    "projection_largest": (1e140, 1e140, "an element of a float64 row beyond which (in the "
        "inverse: below whose inverse) the row is multiplied by projection_lift before its "
        "squares are summed"),
    "projection_lift": ("-600", "-600", "that multiplier; the inverse projection's is its "
        "inverse"),
    "largest": (3.4028234e38, 1.7976931348623157e308, "the largest finite number"),
    "slerp_parallel": (1e-32, 1e-302, "b's part across a, squared, over b's along a, squared, at "
        "or below which the pair counts as parallel"),
    "slerp_along": (0.25, 0.25, "r's part across a, squared, over |r|^2, at or below which r is "
        "refined once more"),
    "exp_lowest": (-104.0, -746.0, "below it e^x rounds to 0"),
    "exp_highest": (89.0, 710.0, "above it e^x rounds to infinity"),
    "expm1_lowest": (-18.0, -38.0, "below it e^x - 1 rounds to -1"),
    "tanh_lowest": (-20.0, -42.0, "-2|x| below which tanh x rounds to its sign"),
    "log1p_smallest": (1e-9, 1e-18, "|x| below which log(1 + x) rounds to x"),
    "atan_largest": (1e30, 1e300, "|x| above which atan x rounds to its limit"),
    "smallest_normal": (1.17549435e-38, 2.2250738585072014e-308, "below it lie the subnormals"),
    "log_gamma_below": (28, 28, "orders from which Stirling's series takes over"),
    "bessel_series_below": (12, 28, "sqrt(v^2 + x^2) from which Debye's expansion serves, below "
        "it the ascending series"),
    "bessel_huge": (1e18, 1e150, "beyond it x^2 would overflow"),
    "bessel_unit": (5.9604644775390625e-8, 1.1102230246251565e-16, "half an ulp of 1"),
    "quotient_small": (1e-18, 1e-150, "x below which (h + v) / x may overflow"),
    "quotient_lift": ("64", "600", "what multiplies such an x"),
    "quotient_log_lift": (44.3614195558364998, 415.888308335967186, "the logarithm of that"),
    "order_down": ("-70", "-520", "what multiplies v and x beyond bessel_huge, so that neither "
        "square overflows; its inverse multiplies their root"),
    "order_series_terms": (22, 46, "terms of the ascending series at an order of each element"),
    "order_debye_terms": (10, 18, "terms of Debye's expansion at an order of each element"),
    "concentration_steps": (2, 4, "steps of Newton's iteration for a concentration"),
    "sample_rounds": (32, 32, "proposals for a vMF cosine: each is refused with probability at "
        "most 0.34, all of them with less than 1e-14"),
    "sample_smallest": (1e-150, 1e-150, "bounds sines and slopes away from 0 in a vMF path"),
    "coupling_atan_slope": (0.636, 0.636, "of FrEIA's clamp, about 2 / pi"),
    "coupling_sigmoid_shift": (2.0, 2.0, "added to r by the sigmoid scales, as in Glow"),
    "coupling_softplus_floor": (1e-3, 1e-3, "added to the softplus scale, as in nflows"),
    "coupling_softplus_ceiling": (3.0, 3.0, "the largest softplus scale"),
}  # fmt: skip


def _cpp(value: float | int | str) -> tuple[str, str]:
    if isinstance(value, str):
        return "double", f"0x1p{value}"
    return ("int", str(value)) if isinstance(value, int) else ("double", repr(value))


def _python(value: float | int | str) -> str:
    return f"2.0**{value}" if isinstance(value, str) else repr(value)


def header() -> str:
    """csrc/math/ranges.h"""
    lines = [
        "// Ranges and limits of the mathematics, in one place for the CPU, CUDA and Triton.",
        "// Written by csrc/math/tables/ranges.py; do not edit.",
        "//",
    ]
    for name, (_, _, what) in RANGES.items():
        lines += textwrap.wrap(
            f"{name}: {what}", 98, initial_indent="//   ", subsequent_indent="//     "
        )
    lines += ["#pragma once", "", '#include "simd.h"', "", "FK_BEGIN", ""]
    lines += ["template <class T>", "struct Range;"]
    for place, scalar in enumerate(("float", "double")):
        lines += ["template <>", f"struct Range<{scalar}> {{"]
        for name, values in RANGES.items():
            kind, text = _cpp(values[place])
            lines.append(f"  static constexpr {kind} {name} = {text};")
        lines += ["};"]
    return "\n".join([*lines, "", "FK_END"]) + "\n"


def module() -> str:
    """python_ops/triton/ranges.py"""
    lines = [
        '"""Ranges and limits of the mathematics: csrc/math/ranges.h, which says what each is.',
        "",
        "Written by csrc/math/tables/ranges.py; do not edit.  What differs between the precisions",
        "is a pair: `NAME[x.dtype == tl.float64]`.",
        '"""',
        "",
        "import triton.language as tl",
        "",
        "# fmt: off",
    ]
    for name, (single, double, _) in RANGES.items():
        both = f"({_python(single)}, {_python(double)})"
        value = _python(single) if single == double else both
        lines.append(f"{name.upper()} = tl.constexpr({value})")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for path, text in ((HEADER, header()), (MODULE, module())):
        if "--print" in sys.argv:
            print(text, end="")
        else:
            path.write_text(text)
