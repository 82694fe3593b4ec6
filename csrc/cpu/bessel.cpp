// Elementwise functions of the Bessel family over contiguous memory.
#include "bessel.h"

#include "../math/bessel_order.h"
#include "../math/log_0f1.h"
#include "../math/vmf_concentration.h"
#include "tile.h"

FK_BEGIN
namespace loops {

// result(x) over elements [begin, end), or grad * result(x) in the backward.
template <class T, class Result>
bool map(const BesselArgs& a, T upper, int64_t begin, int64_t end, Result result) {
  using V = Vec<T>;
  T x_buffer[tile_size], grad_buffer[tile_size], out_buffer[tile_size];
  const Source x{a.x, a.dtype}, grad{a.grad, a.wide};
  const Sink out{a.out, a.grad != nullptr ? a.dtype : a.wide};
  bool inside = true;
  for (int64_t at = begin; at < end; at += tile_size) {
    const int n = end - at < tile_size ? static_cast<int>(end - at) : tile_size;
    const T* xs = fetch<T>(x, at, 1, n, x_buffer);
    const T* gs = a.grad != nullptr ? fetch<T>(grad, at, 1, n, grad_buffer) : nullptr;
    T* to = target<T>(out, at, 1, out_buffer);
    for_lanes<V>(n, [&](int i, int lanes) {
      const V v = load_lanes<V>(xs + i, lanes, T(0.5));
      inside = inside && !any((v < V(T(0))) | (v > V(upper)));
      V r = result(at + i, lanes, v);
      if (gs != nullptr) r *= load_lanes<V>(gs + i, lanes);
      store_lanes<V>(to + i, r, lanes);
    });
    flush<T>(out, at, 1, n, to);
  }
  return inside;
}

template <class T>
bool at_fixed_order(const BesselArgs& a, bool backward, int64_t begin, int64_t end) {
  using V = Vec<T>;
  using F = BesselFunction;
  const auto& plan = *static_cast<const BesselPlan<T>*>(a.plan);
  const V offset = V(static_cast<T>(a.offset)), one = real<V>(1.0);
  const auto run = [&](auto function, T upper = T(INFINITY)) {
    return map<T>(a, upper, begin, end, [&](int64_t, int, V x) { return function(x); });
  };
  const auto slope_at = [&](V kappa) { return one / bessel_ratio_slope(plan, kappa); };
  switch (a.function) {
    case F::log_normalizer:
      return backward ? run([&](V x) { return -bessel_ratio(plan, x); })
                      : run([&](V x) { return offset - log_0f1(plan, x); });
    case F::peak:
      return backward ? run([&](V x) { return bessel_ratio_complement(plan, x); })
                      : run([&](V x) { return offset + bessel_peak(plan, x); });
    case F::divergence:
      return backward ? run([&](V x) { return x * bessel_ratio_slope(plan, x); })
                      : run([&](V x) { return bessel_divergence(plan, x); });
    case F::ratio:
      return backward ? run([&](V x) { return bessel_ratio_slope(plan, x); })
                      : run([&](V x) { return bessel_ratio(plan, x); });
    case F::ratio_complement:
      return backward ? run([&](V x) { return -bessel_ratio_slope(plan, x); })
                      : run([&](V x) { return bessel_ratio_complement(plan, x); });
    case F::ratio_slope:
      return backward ? run([&](V x) { return bessel_ratio_curvature(plan, x); })
                      : run([&](V x) { return bessel_ratio_slope(plan, x); });
    case F::concentration: {
      const auto kappa = [&](V r) { return vmf_concentration(plan, r, one - r); };
      return backward ? run([&](V r) { return slope_at(kappa(r)); }, T(1)) : run(kappa, T(1));
    }
    case F::concentration_complement: {
      const auto kappa = [&](V c) { return vmf_concentration(plan, one - c, c); };
      return backward ? run([&](V c) { return -slope_at(kappa(c)); }, T(1)) : run(kappa, T(1));
    }
    case F::log_iv:
      return backward ? run([&](V x) { return log_iv_slope(plan, x); })
                      : run([&](V x) { return log_iv(plan, x); });
    case F::log_iv_slope:
      return backward ? run([&](V x) { return log_iv_curvature(plan, x); })
                      : run([&](V x) { return log_iv_slope(plan, x); });
  }
  return true;
}

template <class T>
bool at_each_order(const BesselArgs& a, bool backward, int64_t begin, int64_t end) {
  using V = Vec<T>;
  using F = BesselFunction;
  const T* order = static_cast<const T*>(a.order);
  const auto run = [&](auto function) {
    return map<T>(a, T(INFINITY), begin, end, [&](int64_t i, int lanes, V x) {
      return function(load_lanes<V>(order + i, lanes, T(1)), x);
    });
  };
  switch (a.function) {
    case F::ratio:
      return backward ? run([](V v, V x) { return order_ratio_slope(v, x); })
                      : run([](V v, V x) { return order_ratio(v, x); });
    case F::ratio_slope:
      return backward ? run([](V v, V x) { return order_ratio_curvature(v, x); })
                      : run([](V v, V x) { return order_ratio_slope(v, x); });
    case F::log_iv:
      return backward ? run([](V v, V x) { return order_log_iv_slope(v, x); })
                      : run([](V v, V x) { return order_log_iv(v, x); });
    case F::log_iv_slope:
      return backward ? run([](V v, V x) { return order_log_iv_curvature(v, x); })
                      : run([](V v, V x) { return order_log_iv_slope(v, x); });
    default:
      return false;  // the other functions belong to an integer dimension
  }
}

template <class T>
bool run(const BesselArgs& a, bool backward, int64_t begin, int64_t end) {
  return a.plan != nullptr ? at_fixed_order<T>(a, backward, begin, end)
                           : at_each_order<T>(a, backward, begin, end);
}
bool bessel_forward(const BesselArgs& a, int64_t begin, int64_t end) {
  return a.wide == DType::f64 ? run<double>(a, false, begin, end)
                              : run<float>(a, false, begin, end);
}
bool bessel_backward(const BesselArgs& a, int64_t begin, int64_t end) {
  return a.wide == DType::f64 ? run<double>(a, true, begin, end) : run<float>(a, true, begin, end);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(bessel_forward, fk::FK_ISA::loops::bessel_forward);
FK_REGISTER_KERNEL(bessel_backward, fk::FK_ISA::loops::bessel_backward);
}  // namespace cpu
}  // namespace fk
