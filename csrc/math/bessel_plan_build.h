// Computes a BesselPlan: on the host only, in double, once per order.
#pragma once

#include "bessel_plan.h"
#include "debye_coefficients.h"
#include "log_gamma.h"

FK_BEGIN
namespace plan {

constexpr double pi = 3.14159265358979323846;
constexpr int max_degree = 27;  // of a collapsed polynomial

// log Gamma(x), x > 0. lgamma writes a global variable, the sign, which threads would share.
inline long double log_gamma(long double x) {
#if defined(__GLIBC__)
  int sign;
  return ::lgammal_r(x, &sign);
#else
  return ::lgammal(x);
#endif
}

// log Gamma(v + 1) - (v + 1/2) log v + v - log(2 pi)/2: Stirling's series, v >= 10.
inline double stirling_remainder(double v) {
  const double z = 1 / (v * v);
  const double c[] = {1. / 12,   -1. / 360,      1. / 1260, -1. / 1680,
                      1. / 1188, -691. / 360360, 1. / 156};
  double s = 0;
  for (int i = 6; i >= 0; --i) s = s * z + c[i];
  return s / v;
}

// -log(1 - z) / z, z in [0, 1/2].
inline double log_quotient(double z) { return z < 1e-300 ? 1.0 : -::log1p(-z) / z; }

// Debye's double sum at fixed v, by powers of tau: sum_k sigma^-k sum_i d_ki rho^2i tau^(k+2i).
struct CollapsedDebye {
  static constexpr int powers = 3 * debye_terms + 3;  // m_k reaches tau^(3 k + 2)
  double c[powers] = {};
  double rho;  // v / sigma

  CollapsedDebye(double v, double sigma, int terms) : rho(v / sigma) {
    const double* d = debye_d<double>();
    double scale = 1;
    for (int k = 1; k <= terms; ++k) {
      scale /= sigma;
      double power = scale;
      for (int i = 0; i <= k; ++i) {
        c[k + 2 * i] += *d++ * power;
        power *= rho * rho;
      }
    }
  }

  // A term tau^j of p has degree j in S, so d/dx only multiplies its coefficient.
  double m_coefficient(int j) const {
    return -(j + 1.0) * j * c[j] + (j >= 2 ? rho * rho * j * (j - 2.0) * c[j - 2] : 0.0);
  }
  template <class Coefficient>
  double sum(double tau, Coefficient coefficient) const {
    double s = 0;
    for (int j = powers - 1; j >= 0; --j) s = s * tau + coefficient(j);
    return s;
  }
  double p(double tau) const {
    return sum(tau, [this](int j) { return c[j]; });
  }
  double e(double tau) const {
    return sum(tau, [this](int j) { return j * c[j]; });
  }
  double m(double tau) const {
    return sum(tau, [this](int j) { return m_coefficient(j); });
  }
  double n(double tau) const {
    return sum(tau, [this](int j) { return (j + 2) * m_coefficient(j); });
  }
  // (p(1) - p(tau)) / (1 - tau): the coefficient of tau^i is the sum of the c[j] with j > i.
  double gap(double tau) const {
    double s = 0, tail = 0;
    for (int j = powers - 1; j >= 1; --j) {
      tail += c[j];
      s = s * tau + tail;
    }
    return s;
  }
};

// The shortest Chebyshev series on [0, 1] within `tolerance` of f, in powers of 2 tau - 1.
template <class T, int Capacity, class F>
void fit(Polynomial<T, Capacity>& out, double tolerance, F f) {
  constexpr int n = max_degree + 1;
  static_assert(n <= Capacity);
  double value[n], series[n];
  for (int i = 0; i < n; ++i) value[i] = f(0.5 + 0.5 * ::cos(pi * (i + 0.5) / n));
  for (int k = 0; k < n; ++k) {
    double s = 0;
    for (int i = 0; i < n; ++i) s += value[i] * ::cos(pi * k * (i + 0.5) / n);
    series[k] = s * (k == 0 ? 1.0 : 2.0) / n;
  }
  int count = n;
  for (double dropped = 0; count > 1; --count) {
    dropped += ::fabs(series[count - 1]);
    if (dropped > tolerance) break;
  }
  // T_0 = 1, T_1 = s, T_k = 2 s T_{k-1} - T_{k-2}
  double monomial[n] = {}, older[n] = {1}, newer[n] = {0, 1};
  for (int k = 0; k < count; ++k) {
    for (int i = 0; i <= k; ++i) monomial[i] += series[k] * older[i];
    double next[n] = {};
    for (int i = 0; i < n; ++i) next[i] = (i > 0 ? 2 * newer[i - 1] : 0) - older[i];
    memcpy(older, newer, sizeof(older));
    memcpy(newer, next, sizeof(newer));
  }
  out.count = count;
  for (int i = 0; i < count; ++i) out.c[i] = static_cast<T>(monomial[i]);
}

// Coefficients from the ratios of successive terms, until the terms are negligible at y = y_max.
template <class T, int Capacity, class Ratio>
void expand(Polynomial<T, Capacity>& out, double first, Ratio ratio) {
  double term = first, sum = 0;
  int k = 0;
  for (; k < Capacity; ++k) {
    out.c[k] = static_cast<T>(term);
    sum += term;
    const double next = term * ratio(k + 1);
    if (next < term && next < sum * Range<T>::bessel_unit / 16) break;
    term = next;
  }
  out.count = k < Capacity ? k + 1 : Capacity;
}

template <class T>
void build_series(BesselPlan<T>& plan, double v) {
  const double h0 = Range<T>::bessel_series_below;
  plan.has_series = v < h0;
  double y = (h0 * h0 - v * v) / 4;
  if (!(y > 1)) y = 1;
  plan.y_scale = static_cast<T>(0.25 / y);
  expand(plan.t0, y / (v + 1), [=](int j) { return y / ((j + 1.0) * (v + j + 1)); });
  expand(plan.t1, 1.0, [=](int j) { return y / (j * (v + 1 + j)); });
  expand(plan.t2, 0.5 / (v + 1),
         [=](int k) { return 2 * y * (2 * v + 2 * k - 1) / (k * (2 * v + k + 1) * (v + k + 1)); });
}

// W of log_0f1.h: log(2/(1+t))/2, the sum p and the constants of Gamma(v + 1).
template <class T>
void fit_remainder(BesselPlan<T>& plan, const CollapsedDebye& d, double v, double m) {
  const double unit = Range<T>::bessel_unit;
  const auto z = [&](double tau) { return (1 - d.rho * tau) / 2; };
  if (v >= Range<T>::bessel_series_below) {
    fit(plan.w, unit * v / 16, [&](double tau) { return d.gap(tau) + log_quotient(z(tau)) / 4; });
  } else if (plan.factored) {
    fit(plan.w, unit * v / 16, [&](double tau) {
      return (-stirling_remainder(v) - d.p(tau)) / (2 * z(tau)) + log_quotient(z(tau)) / 4;
    });
  } else {
    const double constant =
        (v + 0.5) * ::log(m) - static_cast<double>(log_gamma(v + 1.0L)) + 0.5 * ::log(2 * pi) - v;
    fit(plan.w, unit / 32,
        [&](double tau) { return constant - d.p(tau) + z(tau) * log_quotient(z(tau)) / 2; });
  }
}

}  // namespace plan

template <class T>
BesselPlan<T> make_bessel_plan(double v) {
  using namespace plan;
  using Limits = Range<T>;
  const double h0 = Limits::bessel_series_below, unit = Limits::bessel_unit;
  const double sigma = v > h0 ? v : h0, m = v > 10 ? v : 10;
  BesselPlan<T> out = {};
  out.v = static_cast<T>(v);
  out.sigma = static_cast<T>(sigma);
  out.inv_two_m = static_cast<T>(0.5 / m);
  out.offset = static_cast<T>((v - m) / m);
  out.factored = v >= 10;
  out.log_gamma =
      static_cast<T>(v < Limits::log_gamma_below ? log_gamma_1p(v) : log_gamma(v + 1.0L));
  // The series is asymptotic: near h = 12 its terms grow again after the tenth.
  const CollapsedDebye d(v, sigma, sigma < 28 ? 10 : debye_terms);
  fit(out.p, unit * sigma / 16, [&](double tau) { return d.p(tau); });
  fit(out.e, unit * sigma / 16, [&](double tau) { return d.e(tau); });
  fit(out.m, unit / 8, [&](double tau) { return d.m(tau); });
  fit(out.n, unit * (v + 0.5) / 8, [&](double tau) { return d.n(tau); });
  fit_remainder(out, d, v, m);
  build_series(out, v);
  return out;
}

FK_END
