// L(v, x) = log 0F1(; v + 1; x^2/4) at fixed order v >= 0, for x >= 0; the
// logarithm of the von Mises-Fisher normaliser relative to the uniform density:
// log C_p(0) - log C_p(x) = L(p/2 - 1, x).
//
//   h < H0   ascending series, positive terms: L = log1p(T0 - 1)
//   h >= H0  Debye's expansion, DLMF 10.41, in logarithmic form.  With h = sqrt(v^2 + x^2),
//            u = x / (h + v), t = v / h, m = max(v, 10), 1 + y = (h + v) / (2 m):
//            L = x u - (v + 1/2) log1p(y) - W,   W = w(tau), times 1 - t when v >= 10;
//            log(h / m)/2 is split into log1p(y)/2 and a term that is part of W, which
//            leaves one logarithm
//   x^2 << v + 1: L = x^2 / (4 (v + 1)), without subnormal intermediates
//
// Densities use M = x - L, which is computed without cancellation at large x:
//   M = v - v^2 / (h + x) + (v + 1/2) log1p(y) + W
// KL = x L' - L is the divergence from the uniform:
//   KL = (v + 1/2) log1p(y) + W - (1 - q) (1/2 + e)
//
// Relative accuracy for v = 0 .. 5e5, x = 0 .. 1e100: see docs/accuracy.md.
#pragma once

#include "bessel_ratio.h"

FK_BEGIN

// log(1 + y), y >= 0, with one division.
template <class V>
FK_HD V log1p_nonnegative(V y) {
  V e;
  const V f = split_exponent(real<V>(1.0) + y, e);
  // For 1 + y in [1, sqrt 2), y is the exact f; above, the rounding of 1 + y is harmless.
  return log_reduced(select(e == real<V>(0.0), y, f), e);
}

// The two parts of L in the region of Debye's expansion: the logarithm and W.
template <class V>
FK_HD V debye_log_part(const BesselPlan<scalar_t<V>>& plan, const DebyeFrame<V>& f) {
  using T = scalar_t<V>;
  const V y = f.x_u * V(plan.inv_two_m) + V(plan.offset);
  V w = plan.w(f.s);
  if (plan.factored) w = w * (f.x * f.inv_h * f.u);
  return V(plan.v + T(0.5)) * log1p_nonnegative(y) + w;
}

// `out`, or x^2 / (4 (v + 1)), the limit of L and of KL, where that is exact.
template <class V>
FK_HD V or_limit(const BesselPlan<scalar_t<V>>& plan, V x, V out) {
  const V v1(plan.v + scalar_t<V>(1));
  const mask_t<V> small = x * x < real<V>(Range<scalar_t<V>>::bessel_unit) * v1;
  if (any(small)) out = select(small, x / v1 * (x * real<V>(0.25)), out);
  return out;
}

template <class V>
FK_HD V log_0f1(const BesselPlan<scalar_t<V>>& plan, V x) {
  const V out = by_region(
      plan, x, [&](V x_) { return log1p_nonnegative(series_t0(plan, x_)); },
      [&](V x_) {
        const DebyeFrame<V> f(plan, x_);
        return f.x_u - debye_log_part(plan, f);
      },
      [](V x_, V, V) { return x_; });
  return or_limit(plan, x, out);
}

// M = x - L.
template <class V>
FK_HD V bessel_peak(const BesselPlan<scalar_t<V>>& plan, V x) {
  using T = scalar_t<V>;
  return by_region(
      plan, x, [&](V x_) { return x_ - log1p_nonnegative(series_t0(plan, x_)); },
      [&](V x_) {
        const DebyeFrame<V> f(plan, x_);
        const V v(plan.v);
        const V direct = x_ - (f.x_u - debye_log_part(plan, f));
        const V stable = v - v * (v / (f.h + x_)) + debye_log_part(plan, f);
        return select(x_ > v, stable, direct);
      },
      [&](V, V at_huge, V ratio) { return at_huge - V(plan.v + T(0.5)) * log(ratio); });
}

// KL = x L' - L.
template <class V>
FK_HD V bessel_divergence(const BesselPlan<scalar_t<V>>& plan, V x) {
  using T = scalar_t<V>;
  const V out = by_region(
      plan, x,
      [&](V x_) {
        const V t0 = series_t0(plan, x_);
        return x_ * series_ratio(plan, x_) - log1p_nonnegative(t0);
      },
      [&](V x_) {
        const DebyeFrame<V> f(plan, x_);
        const V xs = x_ * f.inv_h;
        return debye_log_part(plan, f) - xs * xs * (real<V>(0.5) + plan.e(f.s));
      },
      [&](V, V at_huge, V ratio) { return at_huge - V(plan.v + T(0.5)) * log(ratio); });
  return or_limit(plan, x, out);
}

// KL' = x A', which decreases as 1/x where A' alone would underflow.
template <class V>
FK_HD V bessel_divergence_slope(const BesselPlan<scalar_t<V>>& plan, V x) {
  const V huge = real<V>(Range<scalar_t<V>>::bessel_huge), xc = min(x, huge);
  const V out = xc * bessel_ratio_slope(plan, xc);
  const mask_t<V> past = x > huge;
  return any(past) ? select(past, out * (huge / x), out) : out;
}

FK_END
