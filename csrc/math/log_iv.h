// log I_v(x) and its derivatives at fixed order v >= 0, for x >= 0.
//
//   h < H0   v log(x/2) - log Gamma(v+1) + log T0 (bessel_ratio.h)
//   h >= H0  Debye's expansion, DLMF 10.41, h = sqrt(v^2 + x^2), q = (v/h)^2, S = 1/h:
//            log I    = h - v asinh(v/x) - log(2 pi h)/2 + p
//            (log I)' = h/x - x S^2 (1/2 + e)
//            (log I)''= S^2 (1/2 - q - m) - (v/x)^2 S
//            with p, e, m the collapsed sums of bessel_plan.h
//   x = 0    log I = 0 for v = 0, else -inf
//
// The error is relative to h + v asinh(v/x) + |log I|, the size of the terms.
// Accuracy: see docs/accuracy.md.
#pragma once

#include "log_0f1.h"

FK_BEGIN

// asinh(v/x) = log((h + v) / x), without overflow of the quotient.
template <class V>
FK_HD V asinh_of_quotient(V h_plus_v, V x) {
  using Limits = Range<scalar_t<V>>;
  const mask_t<V> small = x < real<V>(Limits::quotient_small);
  const V lifted = select(small, x * real<V>(Limits::quotient_lift), x);
  const V log_lift = real<V>(Limits::quotient_log_lift);
  return log(h_plus_v / lifted) + select(small, log_lift, real<V>(0.0));
}

template <class V>
FK_HD V debye_log_iv(V h, V v, V x, V sum) {
  const V half_log = real<V>(0.5) * (log(h) + real<V>(1.83787706640934548356));
  return (h - v * asinh_of_quotient(h + v, x)) - half_log + sum;
}

// v log(x/2), 0 for v = 0.
template <class V>
FK_HD V log_power(V v, V x) {
  const V power = v * (log(x) - real<V>(0.69314718055994530942));
  return select(v == real<V>(0.0), v, power);
}

template <class V>
FK_HD V log_iv(const BesselPlan<scalar_t<V>>& plan, V x) {
  const V v(plan.v);
  return by_region(
      plan, x,
      [&](V x_) {
        const V t0 = series_t0(plan, x_);
        return log_power(v, x_) - V(plan.log_gamma) + log1p_nonnegative(t0);
      },
      [&](V x_) {
        const DebyeFrame<V> f(plan, x_);
        return debye_log_iv(f.h, v, x_, plan.p(f.s));
      },
      [](V x_, V, V) { return x_; });
}

// v/x, 0 for v = 0.
template <class V>
FK_HD V order_over(V v, V x) {
  return select(v == real<V>(0.0), v, v / x);
}

// d/dx log I_v.
template <class V>
FK_HD V log_iv_slope(const BesselPlan<scalar_t<V>>& plan, V x) {
  const V v(plan.v);
  return by_region(
      plan, x, [&](V x_) { return series_ratio(plan, x_) + order_over(v, x_); },
      [&](V x_) {
        const DebyeFrame<V> f(plan, x_);
        return f.h / x_ - x_ * f.inv_h * f.inv_h * (real<V>(0.5) + plan.e(f.s));
      },
      [](V, V at_huge, V) { return at_huge; });
}

// d^2/dx^2 log I_v.
template <class V>
FK_HD V log_iv_curvature(const BesselPlan<scalar_t<V>>& plan, V x) {
  const V v(plan.v);
  return by_region(
      plan, x,
      [&](V x_) {
        const V y = x_ * x_ * V(plan.y_scale);
        const V inverse = real<V>(1.0) / (real<V>(1.0) + y * plan.t0(y));
        return plan.t2(y) * inverse * inverse - order_over(order_over(v, x_), x_);
      },
      [&](V x_) {
        const DebyeFrame<V> f(plan, x_);
        const V t = v * f.inv_h, r = v / x_;
        return f.inv_h * f.inv_h * (real<V>(0.5) - t * t - plan.m(f.s)) - r * (r * f.inv_h);
      },
      [](V, V at_huge, V ratio) { return at_huge * ratio * ratio; });
}

FK_END
