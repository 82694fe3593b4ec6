// log I_v(x), I_{v+1}/I_v and their derivatives with a separate order v in every lane.
//
// The formulas are those of log_iv.h (v >= 0) and bessel_ratio.h (v >= -1/2).  Without a fixed
// order there is no plan: the series use the ratios of successive terms, and Debye's double
// sum uses the tables of debye_coefficients.h.
//
// Accuracy: as at fixed order; see docs/accuracy.md.
#pragma once

#include "debye_coefficients.h"
#include "log_gamma.h"
#include "log_iv.h"

FK_BEGIN

// T0 - 1 of order v; T1 is 1 + this of order v + 1.
template <class V>
FK_HD V order_t0(V v, V y) {
  V sum = real<V>(0.0);
  for (int j = Range<scalar_t<V>>::order_series_terms; j > 0; --j) {
    const V k = real<V>(static_cast<double>(j));
    sum = y / (k * (v + k)) * (real<V>(1.0) + sum);
  }
  return sum;
}

// I_{v+1}(x) / I_v(x) = x/(2(v+1)) T1/T0.
template <class V>
FK_HD V order_series_ratio(V v, V x) {
  const V y = x * x * real<V>(0.25), one = real<V>(1.0);
  return x * real<V>(0.5) / (v + one) * (one + order_t0(v + one, y)) / (one + order_t0(v, y));
}

// T2 and dT2/dy.
template <class V>
FK_HD V order_t2(V v, V y, V& slope) {
  const V one = real<V>(1.0), two_v = v + v;
  V term = real<V>(0.5) / (v + one), sum = term, lowered = term;  // lowered: a_k y^(k-1)
  slope = real<V>(0.0);
  for (int k = 1; k < Range<scalar_t<V>>::order_series_terms * 3 / 2; ++k) {
    const V kk = real<V>(static_cast<double>(k));
    const V ratio =
        real<V>(2.0) * (two_v + (kk + kk - one)) / (kk * (two_v + kk + one) * (v + kk + one));
    lowered = term * ratio;
    term = lowered * y;
    sum += term;
    slope += kk * lowered;
  }
  return sum;
}

// sum_k S^k p_k(q) for one of the tables; polynomial k has k + 1 + extra coefficients.
template <class V>
FK_HD V order_double_sum(const scalar_t<V>* table, int extra, V s, V q) {
  constexpr int terms = Range<scalar_t<V>>::order_debye_terms;
  const scalar_t<V>* c = table + terms * (terms + 1) / 2 + terms * (1 + extra);
  V sum = real<V>(0.0);
  for (int k = terms; k > 0; --k) {
    V inner = V(*--c);
    for (int i = k + extra; i > 0; --i) inner = inner * q + V(*--c);
    sum = (sum + inner) * s;
  }
  return sum;
}
// The same for (k + 2) m_k + 2 q m_k'.
template <class V>
FK_HD V order_third_sum(V s, V q) {
  using T = scalar_t<V>;
  constexpr int terms = Range<scalar_t<V>>::order_debye_terms;
  const T* c = debye_m<T>() + terms * (terms + 1) / 2 + terms * 2;
  V sum = real<V>(0.0);
  for (int k = terms; k > 0; --k) {
    V inner = real<V>(0.0);
    for (int i = k + 1; i >= 0; --i) inner = inner * q + V(static_cast<T>(k + 2 + 2 * i) * *--c);
    sum = (sum + inner) * s;
  }
  return sum;
}

template <class V>
struct OrderFrame {
  V v, x, h, s, q;  // s = 1/h

  FK_HD OrderFrame(V v_, V x_) : v(v_), x(x_) {
    // Scale so that neither square overflows.
    using Limits = Range<scalar_t<V>>;
    const V down = real<V>(Limits::order_down), up = real<V>(1 / Limits::order_down);
    const mask_t<V> large = max(v, x) > real<V>(Limits::bessel_huge);
    const V scale = select(large, down, real<V>(1.0));
    const V sv = v * scale, sx = x * scale;
    h = sqrt(sv * sv + sx * sx) * select(large, up, real<V>(1.0));
    s = real<V>(1.0) / h;
    const V t = v * s;
    q = t * t;
  }
};

template <class V, class Series, class Debye>
FK_HD V by_order_region(V v, V x, Series series, Debye debye) {
  const V zero = real<V>(0.0), limit = real<V>(Range<scalar_t<V>>::bessel_series_below);
  const mask_t<V> low = (v < limit) & (x < limit) & (v * v + x * x < limit * limit);
  V out;
  if (all(low)) return series(v, x);
  out = debye(OrderFrame<V>(v, x));
  if (any(low)) out = select(low, series(select(low, v, zero), select(low, x, zero)), out);
  return out;
}

template <class V>
FK_HD V order_log_iv(V v, V x) {
  using T = scalar_t<V>;
  const V out = by_order_region(
      v, x,
      [](V v_, V x_) {
        const V t0 = order_t0(v_, x_ * x_ * real<V>(0.25));
        return log_power(v_, x_) - log_gamma_1p(v_) + log1p_nonnegative(t0);
      },
      [](const OrderFrame<V>& f) {
        return debye_log_iv(f.h, f.v, f.x, order_double_sum(debye_d<T>(), 0, f.s, f.q));
      });
  return select((x == V(T(INFINITY))) & (v < x), x, out);
}

template <class V>
FK_HD V order_log_iv_slope(V v, V x) {
  using T = scalar_t<V>;
  return by_order_region(
      v, x, [](V v_, V x_) { return order_series_ratio(v_, x_) + order_over(v_, x_); },
      [](const OrderFrame<V>& f) {
        const V e = order_double_sum(debye_e<T>(), 0, f.s, f.q);
        return f.h / f.x - (f.x * f.s) * f.s * (real<V>(0.5) + e);
      });
}

template <class V>
FK_HD V order_log_iv_curvature(V v, V x) {
  using T = scalar_t<V>;
  return by_order_region(
      v, x,
      [](V v_, V x_) {
        const V y = x_ * x_ * real<V>(0.25);
        V slope;
        const V t2 = order_t2(v_, y, slope),
                inverse = real<V>(1.0) / (real<V>(1.0) + order_t0(v_, y));
        return t2 * inverse * inverse - order_over(order_over(v_, x_), x_);
      },
      [](const OrderFrame<V>& f) {
        const V m = order_double_sum(debye_m<T>(), 1, f.s, f.q), r = f.v / f.x;
        return f.s * f.s * (real<V>(0.5) - f.q - m) - r * (r * f.s);
      });
}

template <class V>
FK_HD V order_ratio(V v, V x) {
  using T = scalar_t<V>;
  return by_order_region(
      v, x, [](V v_, V x_) { return order_series_ratio(v_, x_); },
      [](const OrderFrame<V>& f) {
        const V e = order_double_sum(debye_e<T>(), 0, f.s, f.q);
        const V one = real<V>(1.0);
        // x S and 1 / (1 + t) rather than x / (h + v): no overflow, and 1 at infinity
        const V xs = select(f.x == V(T(INFINITY)), one, f.x * f.s);
        return xs * (one / (one + f.v * f.s) - f.s * (real<V>(0.5) + e));
      });
}

template <class V>
FK_HD V order_ratio_slope(V v, V x) {
  using T = scalar_t<V>;
  return by_order_region(
      v, x,
      [](V v_, V x_) {
        const V y = x_ * x_ * real<V>(0.25), one = real<V>(1.0);
        V slope;
        const V t2 = order_t2(v_, y, slope), inverse = one / (one + order_t0(v_, y));
        return t2 * inverse * inverse;
      },
      [](const OrderFrame<V>& f) {
        const V m = order_double_sum(debye_m<T>(), 1, f.s, f.q), t = f.v * f.s;
        return f.s * (t / (real<V>(1.0) + t)) + f.s * f.s * (real<V>(0.5) - f.q - m);
      });
}

template <class V>
FK_HD V order_ratio_curvature(V v, V x) {
  return by_order_region(
      v, x,
      [](V v_, V x_) {
        const V y = x_ * x_ * real<V>(0.25), one = real<V>(1.0);
        V slope;
        const V t2 = order_t2(v_, y, slope), inverse = one / (one + order_t0(v_, y));
        const V t1 = one + order_t0(v_ + one, y);
        const V bracket = slope - (t2 + t2) * inverse * t1 / (v_ + one);
        return real<V>(0.5) * x_ * bracket * inverse * inverse;
      },
      [](const OrderFrame<V>& f) {
        const V one = real<V>(1.0), t = f.v * f.s, r = one / (one + t);
        const V lead = t * r * r * (one + one + t);
        const V rest = f.s * (one - real<V>(4.0) * f.q - order_third_sum(f.s, f.q));
        return -(f.x * f.s) * f.s * f.s * (lead + rest);
      });
}

FK_END
