// The coefficients of L(v, x) = log 0F1(; v + 1; x^2/4) and related functions for fixed v.
//
// For a fixed order each double sum of Debye's expansion (debye_coefficients.h)
// collapses into one short polynomial, and the ascending series have fixed
// coefficients.  A plan holds both; log_0f1.h and bessel_ratio.h evaluate it.
// Plans are computed on the host, in double, and rounded once to T.
//
// With H0 = Range::bessel_series_below, sigma = max(v, H0) and
// tau = sigma / h in (0, 1], h = sqrt(v^2 + x^2), t = v / h, q = t^2:
//   p(tau) = sum_k h^-k d_k(q)
//   e(tau) = sum_k h^-k e_k(q)
//   m(tau) = sum_k h^-k m_k(q)
//   n(tau) = sum_k h^-k ((k + 2) m_k + 2 q m_k')(q)
//   w(tau) = the remainder of log 0F1 after its closed-form part (log_0f1.h)
// each in the variable 2 tau - 1, in which the conversion from Chebyshev to monomial
// coefficients is well conditioned.
#pragma once

#include "ranges.h"
#include "simd.h"

FK_BEGIN

// c[0] + c[1] x + ... + c[count - 1] x^(count - 1)
template <class T, int Capacity>
struct Polynomial {
  static constexpr int capacity = Capacity;
  int32_t count;
  T c[Capacity];

  template <class V>
  FK_HD V operator()(V x) const {
    V r = V(c[count - 1]);
    for (int i = count - 2; i >= 0; --i) r = r * x + V(c[i]);
    return r;
  }
  // The polynomial and its derivative.
  template <class V>
  FK_HD V with_slope(V x, V& slope) const {
    V r = V(c[count - 1]), d = V(T(0));
    for (int i = count - 2; i >= 0; --i) {
      d = d * x + r;
      r = r * x + V(c[i]);
    }
    slope = d;
    return r;
  }
};

template <class T>
struct BesselPlan {
  T v;              // the order
  T sigma;          // max(v, H0)
  T inv_two_m;      // 1 / (2 m), m = max(v, 10): the scale of the logarithm in L
  T offset;         // (v - m) / m
  T log_gamma;      // log Gamma(v + 1)
  bool has_series;  // v < H0
  bool factored;    // v >= 10: w is stored without its factor 1 - t
  Polynomial<T, 28> p, e, m, n, w;
  // Ascending series in x^2 y_scale = y / y_max: (T0 - 1) / (x^2 y_scale), T1, T2.
  T y_scale;
  Polynomial<T, 48> t0, t1;
  Polynomial<T, 72> t2;
};

FK_END
