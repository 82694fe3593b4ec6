// Rational-quadratic splines on the CPU: a block of elements at a time, vectors across elements.
#include "rational_quadratic_spline.h"

#include "../engine/cpu/map.h"
#include "../math/rational_quadratic_spline.h"

FK_BEGIN
namespace loops {

using SplineArgs = RationalQuadraticSplineArgs;

// Calls body(first, n, next) for the blocks of work items [begin, end); the block after has `next`
// elements.
template <class Body>
void for_blocks(const ItemElements& items, int64_t begin, int64_t end, Body body) {
  const int64_t last = items.begin_of(end);
  const auto length = [&](int64_t first) {
    const int64_t left = last - first;
    return static_cast<int>(left < 0 ? 0 : left < block_rows ? left : block_rows);
  };
  for (int64_t first = items.begin_of(begin); first < last; first += block_rows)
    body(first, length(first), length(first + block_rows));
}

// Lanes past the last element compute on numbers.
template <class T>
void fill_tail(T* values, int n) {
  for (int i = n; i < block_rows; ++i) values[i] = T(0);
}
template <class T>
void fill_tail(Columns<T> values, int parts, int n) {
  for (int m = 0; m < parts; ++m) fill_tail(values[m], n);
}

template <class V>
using Splines = SplineAt<V, V[largest_bins]>;

template <class T, bool inverse>
__attribute__((noinline)) void forward(const SplineArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  const auto constants = spline_constants<T>(a);
  const int parts = spline_parameters(a.boundary, a.bins);
  const ElementOrder order(a.coupled);
  const ItemElements items(order, a.parts);
  const ColumnBuffer<T> buffer(parts);
  const Columns<T> params = buffer.columns();
  alignas(line_bytes) T x[block_rows], y[block_rows], log_det[block_rows];
  Splines<V> at;
  int64_t item = begin;
  double sum = 0;
  const auto put_sum = [&](int64_t i, double s) { put(sink(a.log_det), i, s); };
  for_blocks(items, begin, end, [&](int64_t first, int n, int next) {
    read_elements(order, a.x, first, n, x);
    read_vectors<T>(order, a.params, parts, first, n, params);
    if (n < block_rows) {
      fill_tail(x, n);
      fill_tail(params, parts, n);
    }
    Prefetch ahead(order, a.params, parts, first + n, next);
    for (int i = 0; i < n; i += lanes_v<V>) {
      ahead.ask<false>(lanes_v<V>);
      spline_at<inverse>(at, constants, load<V>(x + i),
                         [&](int m) FK_INLINE_LAMBDA { return load<V>(params[m] + i); });
      store<V>(y + i, at.value.y);
      store<V>(log_det + i, at.value.log_det);
    }
    write_elements(order, a.y, first, n, y);
    if (a.sums_rows) {
      items.add(log_det, first, n, item, sum, put_sum);
    } else {
      write_elements(order, a.log_det, first, n, log_det);
    }
  });
  if (a.sums_rows)  // of rows without elements
    for (; item < end; ++item) put_sum(item, 0.0);
  KeptChannels{a.kept, a.kept_x, a.kept_y, a.parts}.copy(begin, end);
}

template <class T, bool inverse>
__attribute__((noinline)) void backward(const SplineArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  const auto constants = spline_constants<T>(a);
  const int parts = spline_parameters(a.boundary, a.bins);
  const ElementOrder order(a.coupled);
  const ItemElements items(order, a.parts);
  const ColumnBuffer<T> buffer(parts), grad_buffer(parts);
  const Columns<T> params = buffer.columns(), grads = grad_buffer.columns();
  alignas(line_bytes) T x[block_rows], grad_y[block_rows], grad_log[block_rows];
  alignas(line_bytes) T grad_x[block_rows];
  Splines<V> at;
  for_blocks(items, begin, end, [&](int64_t first, int n, int next) {
    read_elements(order, a.x, first, n, x);
    read_elements(order, a.grad_y, first, n, grad_y);
    read_vectors<T>(order, a.params, parts, first, n, params);
    if (a.sums_rows) {
      items.spread(a.grad_log_det, first, n, grad_log);
    } else {
      read_elements(order, a.grad_log_det, first, n, grad_log);
    }
    if (n < block_rows) {
      fill_tail(x, n);
      fill_tail(grad_y, n);
      fill_tail(grad_log, n);
      fill_tail(params, parts, n);
    }
    Prefetch ahead(order, a.params, parts, first + n, next);
    Prefetch results(order, a.grad_params, parts, first, n);
    for (int i = 0; i < n; i += lanes_v<V>) {
      ahead.ask<false>(lanes_v<V>);
      results.ask<true>(lanes_v<V>);
      const V grad = spline_pullback<inverse>(
          at, constants, load<V>(x + i), load<V>(grad_y + i), load<V>(grad_log + i),
          [&](int m) FK_INLINE_LAMBDA { return load<V>(params[m] + i); },
          [&](int m, V value) FK_INLINE_LAMBDA { store<V>(grads[m] + i, value); });
      store<V>(grad_x + i, grad);
    }
    write_elements(order, a.grad_x, first, n, grad_x);
    write_vectors<T>(order, a.grad_params, parts, first, n, grads);
  });
  KeptChannels{a.kept, a.kept_x, a.kept_y, a.parts}.copy(begin, end);
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
