// Elementwise functions of the Bessel family over contiguous memory.
#include "bessel.h"

#include "../engine/cpu/chunk.h"
#include "../math/bessel_functions.h"

FK_BEGIN
namespace loops {

// result(x) over elements [begin, end), or grad * result(x) in the backward.
template <class T, class Result>
bool map(const BesselArgs& a, T upper, int64_t begin, int64_t end, Result result) {
  using V = Vec<T>;
  T x_buffer[chunk_size], grad_buffer[chunk_size], out_buffer[chunk_size];
  const Source x{a.x, a.dtype}, grad{a.grad, a.wide};
  const Sink out{a.out, a.grad != nullptr ? a.dtype : a.wide};
  bool inside = true;
  for (int64_t at = begin; at < end; at += chunk_size) {
    const int n = end - at < chunk_size ? static_cast<int>(end - at) : chunk_size;
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
  const auto& plan = *static_cast<const BesselPlan<T>*>(a.plan);
  const V offset = V(static_cast<T>(a.offset));
  return with_function(a.function, [&](auto function) {
    constexpr BesselFunction F = decltype(function)::value;
    const T upper = is_concentration(F) ? T(1) : T(INFINITY);
    if (backward)
      return map<T>(a, upper, begin, end,
                    [&](int64_t, int, V x) { return bessel_derivative<F>(plan, x); });
    return map<T>(a, upper, begin, end,
                  [&](int64_t, int, V x) { return offset + bessel_value<F>(plan, x); });
  });
}

template <class T>
bool at_each_order(const BesselArgs& a, bool backward, int64_t begin, int64_t end) {
  using V = Vec<T>;
  const T* order = static_cast<const T*>(a.order);
  return with_function(a.function, [&](auto function) {
    constexpr BesselFunction F = decltype(function)::value;
    if constexpr (knows_each_order(F)) {
      const auto v = [&](int64_t i, int lanes) { return load_lanes<V>(order + i, lanes, T(1)); };
      const T upper = T(INFINITY);
      if (backward)
        return map<T>(a, upper, begin, end, [&](int64_t i, int lanes, V x) {
          return order_derivative<F>(v(i, lanes), x);
        });
      return map<T>(a, upper, begin, end,
                    [&](int64_t i, int lanes, V x) { return order_value<F>(v(i, lanes), x); });
    }
    return false;
  });
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
