// The concentration kappa with A(kappa) = r, the inverse of bessel_ratio.h, for 0 <= r <= 1.
//
// Start: Banerjee et al. (JMLR 6, 2005, eq. 4.4), kappa = r (p - r^2) / (1 - r^2), p = 2v + 2,
// whose relative error is at most 6.5 %.  Then Newton steps on A / (1 - A^2), which is nearly
// linear in kappa: 2e-4, 7e-9, 2e-14.  The function takes r and 1 - r: for r near 1, kappa
// depends on the digits of 1 - r.
//
// Accuracy: 1e-14 relative (float64), given both r and 1 - r to full precision.
#pragma once

#include "bessel_ratio.h"

FK_BEGIN

template <class V>
FK_HD V vmf_concentration(const BesselPlan<scalar_t<V>>& plan, V r, V complement) {
  using T = scalar_t<V>;
  const V one = real<V>(1.0);
  const V gap = complement * (one + r);  // 1 - r^2
  const V target = r / gap;
  V kappa = target * (V(plan.v + plan.v + T(2)) - r * r);
  const V limit = real<V>(Range<T>::bessel_huge);
  kappa = min(kappa, limit);
  for (int i = 0; i < Range<T>::concentration_steps; ++i) {
    const V a = bessel_ratio(plan, kappa);
    const V g = bessel_ratio_complement(plan, kappa) * (one + a);
    // f = A / g, f' = A' (1 + A^2) / g^2
    const V step = (target * g - a) * (g / (bessel_ratio_slope(plan, kappa) * (one + a * a)));
    kappa = min(kappa + step, limit);
  }
  // At large kappa, 1 - A = (p - 1) / (2 kappa) to the last digit; 1 - r = 0 gives infinity.
  const V far = V(plan.v + T(0.5)) / complement;
  return select(far >= limit, far, kappa);
}

FK_END
