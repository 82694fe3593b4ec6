// Rational-quadratic splines on the CPU: vectors run across the elements.
#include "rational_quadratic_spline.h"

#include "../engine/cpu/channels.h"
#include "../engine/cpu/map_vectors.h"
#include "../math/rational_quadratic_spline.h"

FK_BEGIN
namespace loops {

using SplineArgs = RationalQuadraticSplineArgs;

template <class V>
using Splines = SplineAt<V, V[largest_bins]>;

// Calls body(from, n) for slices of a block: n elements from element `from` on.
template <class Body>
FK_HD void for_slices(const MapBlock& b, Body body) {
  for (int from = 0; from < b.n; from += slice_elements)
    body(from, b.n - from < slice_elements ? b.n - from : slice_elements);
}

template <class T, bool inverse>
__attribute__((noinline)) void forward(const SplineArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  const auto constants = spline_constants<T>(a);
  const MapBlocks blocks(a.coupled, a.parts, begin, end, /*widest_shared_line=*/chunk_size);
  MapOperand<T> x(blocks, a.x), y(blocks, a.y);
  MapVectors<T, VectorOperand> params(blocks, a.params, spline_parameters(a.boundary, a.bins));
  LogDets<T> log_det(blocks, a.log_det, a.sums_rows);
  Splines<V> at;
  blocks.for_each([&](const MapBlock& b) {
    const T* const in = x.read(b);
    T *const out = y.place(b), *const each = log_det.place(b);
    LanesSum<V> sum;
    for_slices(b, [&](int from, int n) FK_INLINE_LAMBDA {
      params.read(b, from, n);
      Prefetch ahead = params.memory(b, from + n);
      for (int i = 0; i < n; i += lanes_v<V>) {
        const int place = from + i, lanes = n - i < lanes_v<V> ? n - i : lanes_v<V>;
        ahead.ask<false>(lanes_v<V>);
        spline_at<inverse>(at, constants, load_lanes<V>(in + place, lanes),
                           [&](int m) FK_INLINE_LAMBDA { return params.get(m, i); });
        store_lanes<V>(out + place, at.value.y, lanes);
        if (each != nullptr) {
          store_lanes<V>(each + place, at.value.log_det, lanes);
        } else {
          sum.add(at.value.log_det, lanes);
        }
      }
    });
    y.written(b);
    log_det.written(b, hsum(sum.total));
  });
  copy_kept_channels(a, begin, end);
}

template <class T, bool inverse>
__attribute__((noinline)) void backward(const SplineArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  const auto constants = spline_constants<T>(a);
  const int parameters = spline_parameters(a.boundary, a.bins);
  const MapBlocks blocks(a.coupled, a.parts, begin, end, /*widest_shared_line=*/chunk_size);
  MapOperand<T> x(blocks, a.x), grad_y(blocks, a.grad_y), grad_x(blocks, a.grad_x);
  MapVectors<T, VectorOperand> params(blocks, a.params, parameters);
  MapVectors<T, VectorOperand> grad_params(blocks, a.grad_params, parameters);
  LogDetGradients<T> grad_log_det(blocks, a.grad_log_det, a.sums_rows);
  Splines<V> at;
  blocks.for_each([&](const MapBlock& b) {
    const T *const in = x.read(b), *const grad_out = grad_y.read(b);
    const LogDetGradient<T> grad_log = grad_log_det.read(b);
    T* const grad_in = grad_x.place(b);
    for_slices(b, [&](int from, int n) FK_INLINE_LAMBDA {
      params.read(b, from, n);
      Prefetch ahead = params.memory(b, from + n), results = grad_params.memory(b, from);
      for (int i = 0; i < n; i += lanes_v<V>) {
        const int place = from + i, lanes = n - i < lanes_v<V> ? n - i : lanes_v<V>;
        ahead.ask<false>(lanes_v<V>);
        results.ask<true>(lanes_v<V>);
        const V grad = spline_pullback<inverse>(
            at, constants, load_lanes<V>(in + place, lanes), load_lanes<V>(grad_out + place, lanes),
            grad_log.at(place, lanes), [&](int m) FK_INLINE_LAMBDA { return params.get(m, i); },
            [&](int m, V value) FK_INLINE_LAMBDA { grad_params.set(m, i, value); });
        store_lanes<V>(grad_in + place, grad, lanes);
      }
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
