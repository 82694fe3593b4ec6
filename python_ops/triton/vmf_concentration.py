"""The concentration of given mean resultant length, in Triton: csrc/math/vmf_concentration.h."""

from __future__ import annotations

import triton
import triton.language as tl

from .bessel_plan import V
from .bessel_ratio import below_huge, bessel_ratio, bessel_ratio_complement, bessel_ratio_slope
from .elementary import divide
from .ranges import BESSEL_HUGE, CONCENTRATION_STEPS


@triton.jit
def vmf_concentration(plan, r, complement, TERMS: tl.constexpr):
    """The kappa with A(kappa) = r, given r and 1 - r."""
    v = tl.load(plan + V)
    target = divide(r, complement * (r + 1.0))
    kappa = below_huge(target * (v + v + 2.0 - r * r))
    for _ in range(CONCENTRATION_STEPS[r.dtype == tl.float64]):
        a = bessel_ratio(plan, kappa, TERMS)
        g = bessel_ratio_complement(plan, kappa, TERMS) * (a + 1.0)
        # f = A / g, f' = A' (1 + A^2) / g^2
        slope = bessel_ratio_slope(plan, kappa, TERMS) * (a * a + 1.0)
        kappa = below_huge(kappa + (target * g - a) * divide(g, slope))
    # Out there 1 - A is (p - 1) / (2 kappa) to the last digit, and 0 belongs to infinity.
    far = divide(tl.zeros_like(r) + (v + 0.5), complement)
    return tl.where(far >= BESSEL_HUGE[r.dtype == tl.float64], far, kappa)
