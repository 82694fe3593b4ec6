// The functions of the Bessel family by name, and their derivatives in x.
//
// A = I_{v+1}/I_v, L = log 0F1(; v+1; x^2/4).  The functions are in log_0f1.h, bessel_ratio.h,
// log_iv.h, vmf_concentration.h and bessel_order.h.  The caller adds the offsets.
#pragma once

#include "../args/bessel.h"
#include "bessel_order.h"
#include "log_0f1.h"
#include "log_iv.h"
#include "vmf_concentration.h"

FK_BEGIN

// Whether the function is the inverse of A, whose argument is at most 1.
FK_HD constexpr bool is_concentration(BesselFunction f) {
  return f == BesselFunction::concentration || f == BesselFunction::concentration_complement;
}

// Whether the function supports an order per element.  The others take one order, given by the
// dimension of a sphere.
FK_HD constexpr bool knows_each_order(BesselFunction f) {
  using F = BesselFunction;
  return f == F::ratio || f == F::ratio_slope || f == F::log_iv || f == F::log_iv_slope;
}

template <BesselFunction F, class V>
FK_HD V bessel_value(const BesselPlan<scalar_t<V>>& plan, V x) {
  using E = BesselFunction;
  const V one = real<V>(1.0);
  if constexpr (F == E::log_normalizer) return -log_0f1(plan, x);
  if constexpr (F == E::peak) return bessel_peak(plan, x);
  if constexpr (F == E::divergence) return bessel_divergence(plan, x);
  if constexpr (F == E::ratio) return bessel_ratio(plan, x);
  if constexpr (F == E::ratio_complement) return bessel_ratio_complement(plan, x);
  if constexpr (F == E::ratio_slope) return bessel_ratio_slope(plan, x);
  if constexpr (F == E::concentration) return vmf_concentration(plan, x, one - x);
  if constexpr (F == E::concentration_complement) return vmf_concentration(plan, one - x, x);
  if constexpr (F == E::log_iv) return log_iv(plan, x);
  if constexpr (F == E::log_iv_slope) return log_iv_slope(plan, x);
}

template <BesselFunction F, class V>
FK_HD V bessel_derivative(const BesselPlan<scalar_t<V>>& plan, V x) {
  using E = BesselFunction;
  const V one = real<V>(1.0);
  if constexpr (F == E::log_normalizer) return -bessel_ratio(plan, x);
  if constexpr (F == E::peak) return bessel_ratio_complement(plan, x);
  if constexpr (F == E::divergence) return bessel_divergence_slope(plan, x);
  if constexpr (F == E::ratio) return bessel_ratio_slope(plan, x);
  if constexpr (F == E::ratio_complement) return -bessel_ratio_slope(plan, x);
  if constexpr (F == E::ratio_slope) return bessel_ratio_curvature(plan, x);
  if constexpr (F == E::concentration)
    return one / bessel_ratio_slope(plan, vmf_concentration(plan, x, one - x));
  if constexpr (F == E::concentration_complement)
    return -(one / bessel_ratio_slope(plan, vmf_concentration(plan, one - x, x)));
  if constexpr (F == E::log_iv) return log_iv_slope(plan, x);
  if constexpr (F == E::log_iv_slope) return log_iv_curvature(plan, x);
}

template <BesselFunction F, class V>
FK_HD V order_value(V v, V x) {
  using E = BesselFunction;
  if constexpr (F == E::ratio) return order_ratio(v, x);
  if constexpr (F == E::ratio_slope) return order_ratio_slope(v, x);
  if constexpr (F == E::log_iv) return order_log_iv(v, x);
  if constexpr (F == E::log_iv_slope) return order_log_iv_slope(v, x);
}

template <BesselFunction F, class V>
FK_HD V order_derivative(V v, V x) {
  using E = BesselFunction;
  if constexpr (F == E::ratio) return order_ratio_slope(v, x);
  if constexpr (F == E::ratio_slope) return order_ratio_curvature(v, x);
  if constexpr (F == E::log_iv) return order_log_iv_slope(v, x);
  if constexpr (F == E::log_iv_slope) return order_log_iv_curvature(v, x);
}

// Calls body(Named<function>()) for a function known at run time.
template <BesselFunction F>
struct Named {
  static constexpr BesselFunction value = F;
};
template <class Body>
inline auto with_function(BesselFunction f, Body body) {
  switch (f) {
#define FK_WITH(name)        \
  case BesselFunction::name: \
    return body(Named<BesselFunction::name>());
    FK_BESSEL_FUNCTIONS(FK_WITH)
#undef FK_WITH
  }
  __builtin_unreachable();
}

FK_END
