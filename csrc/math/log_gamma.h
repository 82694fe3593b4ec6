// log Gamma(1 + v) for 0 <= v < 28.
//
// log Gamma(1 + f) = f (f - 1) P(f) for the fractional part f, P from
// csrc/math/tables/polynomials.py, plus the logarithm of (f+1) (f+2) ... v.  The factored form
// keeps the relative accuracy at both zeros (v = 0 and v = 1).
//
// Accuracy: 2 ulp of max(result, v).
#pragma once

#include "elementary.h"

FK_BEGIN

template <class V>
FK_HD V log_gamma_1p(V v) {
  const V whole = floor(v), f = v - whole;
  const V one = real<V>(1.0);
  V product = one;
  for (int j = 1; j < Range<scalar_t<V>>::log_gamma_below; ++j) {
    const V step = real<V>(static_cast<double>(j));
    product *= select(step <= whole, f + step, one);
  }
  return fma(f * (f - one), log_gamma_polynomial(f), log(product));
}

FK_END
