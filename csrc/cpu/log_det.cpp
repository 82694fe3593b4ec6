// sum log|d| row by row: d log|d| = grad / d.
#include "log_det.h"

#include "../math/elementary.h"
#include "tile.h"

FK_BEGIN
namespace loops {

template <class T>
T sum_log_abs(const T* d, int n) {
  using V = Vec<T>;
  V total(T(0));
  // Lanes past the end hold 1, whose logarithm adds nothing.
  for_lanes<V>(n, [&](int i, int lanes) { total += log(abs(load_lanes<V>(d + i, lanes, T(1)))); });
  return hsum(total);
}

template <class T>
void forward(const LogDetArgs& a, int64_t begin, int64_t end) {
  T buffer[tile_size];
  const Source diag{a.diag, a.dtype};
  const Sink out{a.log_det, a.wide};
  if (a.n <= lanes_v<Vec<T>>) {
    // Short rows: the logarithms of many rows at a time, then their sums.
    const int n = static_cast<int>(a.n);
    const int block = n > 0 ? tile_size / n : tile_size;
    for (int64_t row = begin; row < end; row += block) {
      const int rows = end - row < block ? static_cast<int>(end - row) : block;
      for (int i = 0; i < n; ++i) {
        T column[tile_size];
        const T* d = fetch<T>(diag, row * a.row_stride + i * a.stride, a.row_stride, rows, column);
        for (int r = 0; r < rows; ++r) buffer[r * n + i] = d[r];
      }
      for_lanes<Vec<T>>(rows * n, [&](int i, int lanes) {
        store_lanes<Vec<T>>(buffer + i, log(abs(load_lanes<Vec<T>>(buffer + i, lanes, T(1)))),
                            lanes);
      });
      for (int r = 0; r < rows; ++r) {
        double sum = 0;
        for (int i = 0; i < n; ++i) sum += buffer[r * n + i];
        put(out, row + r, sum);
      }
    }
    return;
  }
  for (int64_t row = begin; row < end; ++row) {
    double sum = 0;
    for (int64_t i = 0; i < a.n; i += tile_size) {
      const int n = a.n - i < tile_size ? static_cast<int>(a.n - i) : tile_size;
      sum += sum_log_abs(fetch<T>(diag, row * a.row_stride + i * a.stride, a.stride, n, buffer), n);
    }
    put(out, row, sum);
  }
}

template <class T>
void backward(const LogDetArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  T buffer[tile_size], result[tile_size];
  const Source diag{a.diag, a.dtype}, grads{a.grad_log_det, a.wide};
  const Sink out{a.grad_diag, a.dtype};
  for (int64_t row = begin; row < end; ++row) {
    T g;
    fetch<T>(grads, row * a.grad_stride, 0, 1, &g);
    for (int64_t i = 0; i < a.n; i += tile_size) {
      const int n = a.n - i < tile_size ? static_cast<int>(a.n - i) : tile_size;
      const T* d = fetch<T>(diag, row * a.row_stride + i * a.stride, a.stride, n, buffer);
      T* to = target<T>(out, row * a.n + i, 1, result);
      for_lanes<V>(n, [&](int j, int lanes) {
        store_lanes<V>(to + j, V(g) / load_lanes<V>(d + j, lanes, T(1)), lanes);
      });
      flush<T>(out, row * a.n + i, 1, n, to);
    }
  }
}

void log_det_forward(const LogDetArgs& a, int64_t begin, int64_t end) {
  a.wide == DType::f64 ? forward<double>(a, begin, end) : forward<float>(a, begin, end);
}
void log_det_backward(const LogDetArgs& a, int64_t begin, int64_t end) {
  a.wide == DType::f64 ? backward<double>(a, begin, end) : backward<float>(a, begin, end);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(log_det_forward, fk::FK_ISA::loops::log_det_forward);
FK_REGISTER_KERNEL(log_det_backward, fk::FK_ISA::loops::log_det_backward);
}  // namespace cpu
}  // namespace fk
