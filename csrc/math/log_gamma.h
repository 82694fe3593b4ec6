// log Gamma(1 + v) for 0 <= v < 28.
//
// log Gamma(1 + f) = f (f - 1) P(f) for the fractional part f, P from
// csrc/math/tables/log_gamma.py, plus the logarithm of (f+1) (f+2) ... v.  The factored form
// keeps the relative accuracy at both zeros (v = 0 and v = 1).
//
// Accuracy: 2 ulp of max(result, v).
#pragma once

#include "elementary.h"

FK_BEGIN

template <class V>
FK_HD V log_gamma_1p(V v) {
  const V whole = floor(v), f = v - whole;
  V p;
  if constexpr (is_single<V>) {
    p = horner(f, 0.5772156624, -0.2452508625, 0.1554171873, -0.1149184021, 0.09065067068,
               -0.07072465539, 0.0490538676, -0.0263120741, 0.009140424189, -0.001487484341);
  } else {
    p = horner(f, 0.5772156649015328556, -0.2452513685225758936, 0.1554342658632928268,
               -0.115146542525104017, 0.09223900725237583661, -0.07731814517650463608,
               0.06673142618826891892, -0.05877516383097031156, 0.05253741919027745486,
               -0.04744503662529866321, 0.04301415542600463285, -0.03867042441832246963,
               0.03370537137511357932, -0.02753418781523319362, 0.02021550278175994602,
               -0.01274226695644025161, 0.006568778005711162678, -0.002620297948505031536,
               0.0007510944620906334731, -0.0001367374984517044135, 0.00001182096944546714522);
  }
  const V one = real<V>(1.0);
  V product = one;
  for (int j = 1; j < 28; ++j) {
    const V step = real<V>(static_cast<double>(j));
    product *= select(step <= whole, f + step, one);
  }
  return fma(f * (f - one), p, log(product));
}

FK_END
