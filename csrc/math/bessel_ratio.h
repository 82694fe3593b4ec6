// A(x) = I_{v+1}(x) / I_v(x) at fixed order v >= -1/2 and x >= 0, its derivatives
// and complement; for v = p/2 - 1 the mean resultant length of the von Mises-Fisher
// distribution on S^(p-1).
//
//   h < H0   ascending series with positive terms, y = x^2/4:
//            T0 = sum y^j / (j! (v+1)_j), T1 the same with v + 2
//            A = x / (2 (v+1)) T1 / T0
//            A' = T2 / T0^2, T2 = sum a_k y^k with a_0 = 1 / (2 (v+1)) and
//            a_k / a_{k-1} = 2 (2v+2k-1) / (k (2v+k+1) (v+k+1)): the cancellation in A' is
//            done in the coefficients, and all terms are positive
//   h >= H0  Debye's expansion, DLMF 10.41, h = sqrt(v^2 + x^2), S = 1/h, q = (v/h)^2:
//            A     = x (1/(h+v) - S^2/2 - S^2 e)
//            1 - A = (v + v^2/(h+x)) / (h+v) + x S^2 (1/2 + e)
//            A'    = v S/(h+v) + S^2 (1/2 - q) - S^2 m
//            A''   = -x (v S^3 (2h+v)/(h+v)^2 + S^4 (1 - 4q) - S^4 n)
//            with e, m, n the collapsed sums of bessel_plan.h
//
// Relative accuracy for v = 0 .. 5e5, x = 0 .. 1e100: see docs/accuracy.md.
#pragma once

#include "bessel_plan.h"
#include "elementary.h"

FK_BEGIN

// Quantities shared by all formulas of the Debye region, from one square root and one division.
template <class V>
struct DebyeFrame {
  V x, h, inv_h, inv_hv, u, x_u, s;  // inv_hv = 1/(h + v), u = x inv_hv, s = 2 sigma/h - 1

  FK_HD DebyeFrame(const BesselPlan<scalar_t<V>>& plan, V x_) : x(x_) {
    const V v(plan.v);
    h = sqrt(x * x + v * v);
    const V hv = h + v;
    const V inverse = real<V>(1.0) / (h * hv);
    inv_h = inverse * hv;
    inv_hv = inverse * h;
    u = x * inv_hv;
    x_u = x * u;
    s = V(plan.sigma + plan.sigma) * inv_h - real<V>(1.0);
  }
};

// Selects the series or the expansion for each lane.  Above Range::bessel_huge, where
// x^2 would overflow, `beyond(x, value at huge, huge / x)` extrapolates.
template <class V, class Series, class Debye, class Beyond>
FK_HD V by_region(const BesselPlan<scalar_t<V>>& plan, V x, Series series, Debye debye,
                  Beyond beyond) {
  using T = scalar_t<V>;
  using Limits = Range<T>;
  const V huge = real<V>(Limits::bessel_huge);
  const V xc = min(x, huge);
  V out;
  if (plan.has_series) {
    const V v(plan.v);
    const mask_t<V> low =
        xc * xc + v * v < real<V>(Limits::bessel_series_below * Limits::bessel_series_below);
    if (all(low)) {
      out = series(xc);
    } else {
      out = debye(xc);
      if (any(low)) out = select(low, series(select(low, xc, real<V>(0.0))), out);
    }
  } else {
    out = debye(xc);
  }
  const mask_t<V> past = x > huge;
  if (any(past)) out = select(past, beyond(x, out, huge / x), out);
  return out;
}

// T0 - 1, T1 and T2.
template <class V>
FK_HD V series_t0(const BesselPlan<scalar_t<V>>& plan, V x) {
  const V y = x * x * V(plan.y_scale);
  return y * plan.t0(y);
}
template <class V>
FK_HD V series_ratio(const BesselPlan<scalar_t<V>>& plan, V x) {
  const V y = x * x * V(plan.y_scale);
  const V t0 = real<V>(1.0) + y * plan.t0(y);
  return x / (V(plan.v + plan.v + scalar_t<V>(2)) * t0) * plan.t1(y);
}

template <class V>
FK_HD V debye_ratio(const BesselPlan<scalar_t<V>>& plan, const DebyeFrame<V>& f) {
  return f.x * (f.inv_hv - f.inv_h * f.inv_h * (real<V>(0.5) + plan.e(f.s)));
}

template <class V>
FK_HD V bessel_ratio(const BesselPlan<scalar_t<V>>& plan, V x) {
  return by_region(
      plan, x, [&](V x_) { return series_ratio(plan, x_); },
      [&](V x_) { return debye_ratio(plan, DebyeFrame<V>(plan, x_)); },
      [&](V, V at_huge, V) { return at_huge; });
}

// 1 - A.
template <class V>
FK_HD V bessel_ratio_complement(const BesselPlan<scalar_t<V>>& plan, V x) {
  return by_region(
      plan, x, [&](V x_) { return real<V>(1.0) - series_ratio(plan, x_); },
      [&](V x_) {
        const DebyeFrame<V> f(plan, x_);
        const V v(plan.v);
        return (v + v * (v / (f.h + x_))) * f.inv_hv +
               x_ * f.inv_h * f.inv_h * (real<V>(0.5) + plan.e(f.s));
      },
      [&](V, V at_huge, V ratio) { return at_huge * ratio; });
}

// A'.
template <class V>
FK_HD V bessel_ratio_slope(const BesselPlan<scalar_t<V>>& plan, V x) {
  return by_region(
      plan, x,
      [&](V x_) {
        const V y = x_ * x_ * V(plan.y_scale);
        const V inverse = real<V>(1.0) / (real<V>(1.0) + y * plan.t0(y));
        return plan.t2(y) * inverse * inverse;
      },
      [&](V x_) {
        const DebyeFrame<V> f(plan, x_);
        const V t = V(plan.v) * f.inv_h;
        return t * f.inv_hv + f.inv_h * f.inv_h * (real<V>(0.5) - t * t - plan.m(f.s));
      },
      [&](V, V at_huge, V ratio) { return at_huge * ratio * ratio; });
}

// A''.
template <class V>
FK_HD V bessel_ratio_curvature(const BesselPlan<scalar_t<V>>& plan, V x) {
  return by_region(
      plan, x,
      [&](V x_) {
        const V y = x_ * x_ * V(plan.y_scale);
        V t2_slope, zero = real<V>(1.0);
        const V t0 = zero + y * plan.t0(y), t2 = plan.t2.with_slope(y, t2_slope);
        const V inverse = zero / t0;
        // dT0/dy = T1 / (v + 1) for the unscaled y
        const V bracket = t2_slope * V(plan.y_scale * scalar_t<V>(4)) -
                          (t2 + t2) * inverse * plan.t1(y) / V(plan.v + scalar_t<V>(1));
        return real<V>(0.5) * x_ * bracket * inverse * inverse;
      },
      [&](V x_) {
        const DebyeFrame<V> f(plan, x_);
        const V v(plan.v), t = v * f.inv_h, s2 = f.inv_h * f.inv_h;
        const V lead = t * f.inv_hv * ((f.h + f.h + v) * f.inv_hv);
        const V rest = s2 * (real<V>(1.0) - real<V>(4.0) * t * t - plan.n(f.s));
        return -x_ * s2 * (lead + rest);
      },
      [&](V, V at_huge, V ratio) { return at_huge * ratio * ratio * ratio; });
}

FK_END
