// Rational-quadratic splines on the CPU: vectors run across the elements.
#include "rational_quadratic_spline.h"

#include "../engine/cpu/channels.h"
#include "../engine/cpu/map_vectors.h"
#include "splines.h"

FK_BEGIN
namespace loops {

using SplineArgs = RationalQuadraticSplineArgs;

// Calls body(from, n) for slices of a block: n elements from element `from` on.
template <class Body>
FK_HD void for_slices(const MapBlock& b, Body body) {
  for (int from = 0; from < b.n; from += slice_elements)
    body(from, b.n - from < slice_elements ? b.n - from : slice_elements);
}

template <class T, bool inverse>
__attribute__((noinline)) void forward(const SplineArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  const MapBlocks blocks(a.coupled, a.parts, begin, end, /*widest_shared_line=*/chunk_size);
  MapOperand<T> x(blocks, a.x), y(blocks, a.y);
  MapVectors<T, VectorOperand> params(blocks, a.params, spline_parameters(a.boundary, a.bins));
  LogDets<T> log_det(blocks, a.log_det, a.sums_rows);
  Splines<V, slice_elements> splines(spline_constants<T>(a));
  blocks.for_each([&](const MapBlock& b) {
    const T* const in = x.read(b);
    T *const out = y.place(b), *const each = log_det.place(b);
    LanesSum<V> sum;
    for_slices(b, [&](int from, int n) FK_INLINE_LAMBDA {
      params.read(b, from, n);
      Prefetch ahead = params.memory(b, from + n);
      const auto lanes = [n](int i) { return n - i < lanes_v<V> ? n - i : lanes_v<V>; };
      const auto point = [&](int i)
                             FK_INLINE_LAMBDA { return load_lanes<V>(in + from + i, lanes(i)); };
      splines.template find<inverse>(
          n, point, [&](int m, int i) FK_INLINE_LAMBDA { return params.get(m, i); },
          [&]() FK_INLINE_LAMBDA { ahead.ask<false>(lanes_v<V>); });
      splines.template values<inverse>(n, point,
                                       [&](int i, const SplineValue<V>& value) FK_INLINE_LAMBDA {
                                         store_lanes<V>(out + from + i, value.y, lanes(i));
                                         if (each != nullptr) {
                                           store_lanes<V>(each + from + i, value.log_det, lanes(i));
                                         } else {
                                           sum.add(value.log_det, lanes(i));
                                         }
                                       });
    });
    y.written(b);
    log_det.written(b, hsum(sum.total));
  });
  copy_kept_channels(a, begin, end);
}

template <class T, bool inverse>
__attribute__((noinline)) void backward(const SplineArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  const int parameters = spline_parameters(a.boundary, a.bins);
  const MapBlocks blocks(a.coupled, a.parts, begin, end, /*widest_shared_line=*/chunk_size);
  MapOperand<T> x(blocks, a.x), grad_y(blocks, a.grad_y), grad_x(blocks, a.grad_x);
  MapVectors<T, VectorOperand> params(blocks, a.params, parameters);
  MapVectors<T, VectorOperand> grad_params(blocks, a.grad_params, parameters);
  LogDetGradients<T> grad_log_det(blocks, a.grad_log_det, a.sums_rows);
  Splines<V, slice_elements> splines(spline_constants<T>(a));
  blocks.for_each([&](const MapBlock& b) {
    const T *const in = x.read(b), *const grad_out = grad_y.read(b);
    const LogDetGradient<T> grad_log = grad_log_det.read(b);
    T* const grad_in = grad_x.place(b);
    for_slices(b, [&](int from, int n) FK_INLINE_LAMBDA {
      params.read(b, from, n);
      Prefetch ahead = params.memory(b, from + n), results = grad_params.memory(b, from);
      const auto lanes = [n](int i) { return n - i < lanes_v<V> ? n - i : lanes_v<V>; };
      const auto read = [&](const T* base) {
        return [&lanes, base = base + from](int i)
                   FK_INLINE_LAMBDA { return load_lanes<V>(base + i, lanes(i)); };
      };
      const auto raw = [&](int m, int i) FK_INLINE_LAMBDA { return params.get(m, i); };
      splines.template find<inverse>(n, read(in), raw, [&]() FK_INLINE_LAMBDA {
        ahead.ask<false>(lanes_v<V>);
        results.ask<true>(lanes_v<V>);
      });
      splines.template gradients<inverse>(
          n, read(in), read(grad_out),
          [&](int i) FK_INLINE_LAMBDA { return grad_log.at(from + i, lanes(i)); }, raw,
          [&](int i, V grad)
              FK_INLINE_LAMBDA { store_lanes<V>(grad_in + from + i, grad, lanes(i)); },
          [&](int m, int i, V value) FK_INLINE_LAMBDA { grad_params.set(m, i, value); });
      grad_params.write(b, from, n);
    });
    grad_x.written(b);
  });
  copy_kept_channels(a, begin, end);
}

template <bool inverse>
void forward_in(const SplineArgs& a, int64_t begin, int64_t end) {
  a.float64 ? forward<double, inverse>(a, begin, end) : forward<float, inverse>(a, begin, end);
}
template <bool inverse>
void backward_in(const SplineArgs& a, int64_t begin, int64_t end) {
  a.float64 ? backward<double, inverse>(a, begin, end) : backward<float, inverse>(a, begin, end);
}
void spline_forward(const SplineArgs& a, int64_t begin, int64_t end) {
  a.inverse ? forward_in<true>(a, begin, end) : forward_in<false>(a, begin, end);
}
void spline_backward(const SplineArgs& a, int64_t begin, int64_t end) {
  a.inverse ? backward_in<true>(a, begin, end) : backward_in<false>(a, begin, end);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(rational_quadratic_spline_forward, fk::FK_ISA::loops::spline_forward);
FK_REGISTER_KERNEL(rational_quadratic_spline_backward, fk::FK_ISA::loops::spline_backward);
}  // namespace cpu
}  // namespace fk
