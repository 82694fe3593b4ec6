// sum log|d| row by row, and its gradient.
//
// Short rows are handled as one: element by element, whatever the row it belongs to.  A
// transposition would cost as much as the mathematics.
#include "log_det.h"

#include "../engine/cpu/rows.h"
#include "../ops/log_det.h"

FK_BEGIN
namespace loops {

// The longest of them.
constexpr int shortest_sums = 8, shortest_gradients = 24;

// A block of rows, dense.
template <class T>
const T* fetch_rows(const LogDetArgs& a, int64_t row, int rows, T* buffer) {
  const int n = static_cast<int>(a.n);
  const Source diag{a.diag, a.dtype};
  if (n == 0) return buffer;  // the diagonal may be a null pointer, which memcpy may not be given
  if (a.row_stride == a.n * a.stride || rows == 1)
    return fetch<T>(diag, row * a.row_stride, a.stride, rows * n, buffer);
  if (a.stride == 1 && a.dtype == dtype_of<T>) {
    const T* from = static_cast<const T*>(a.diag) + row * a.row_stride;
    copy_segments(from, a.row_stride, buffer, a.n, n, rows);
    return buffer;
  }
  with_reader<T>(diag, [=](auto read) {
    for (int r = 0; r < rows; ++r)
      for (int i = 0; i < n; ++i) buffer[r * n + i] = read((row + r) * a.row_stride + i * a.stride);
  });
  return buffer;
}

// Calls body(row, rows) for blocks that fill a chunk.
template <class Body>
void for_blocks(const LogDetArgs& a, int64_t begin, int64_t end, Body body) {
  const int64_t block = a.n > 0 ? chunk_size / a.n : chunk_size;
  for (int64_t row = begin; row < end; row += block)
    body(row, static_cast<int>(end - row < block ? end - row : block));
}

template <class T>
void forward_short(const LogDetArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  T buffer[chunk_size], logs[chunk_size], sums[chunk_size];
  const int n = static_cast<int>(a.n);
  const Sink out{a.log_det, a.wide};
  for_blocks(a, begin, end, [&](int64_t row, int rows) {
    const T* d = fetch_rows(a, row, rows, buffer);
    for_lanes<V>(rows * n, [&](int i, int lanes) FK_INLINE_LAMBDA {
      store_lanes<V>(logs + i, log(abs(load_lanes<V>(d + i, lanes, T(1)))), lanes);
    });
    T* const to = target<T>(out, row, 1, sums);
    sum_segments(logs, n, rows, to);
    flush<T>(out, row, 1, rows, to);
  });
}

template <class T>
void backward_short(const LogDetArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  T buffer[chunk_size], per_row[chunk_size], grads[chunk_size], result[chunk_size];
  const int n = static_cast<int>(a.n);
  const Sink out{a.grad_diag, a.dtype};
  for_blocks(a, begin, end, [&](int64_t row, int rows) {
    const T* d = fetch_rows(a, row, rows, buffer);
    const T* g =
        fetch<T>({a.grad_log_det, a.wide}, row * a.grad_stride, a.grad_stride, rows, per_row);
    spread_segments(g, n, rows, grads);
    T* const to = target<T>(out, row * n, 1, result);
    for_lanes<V>(rows * n, [&](int i, int lanes) FK_INLINE_LAMBDA {
      const V quotient = load_lanes<V>(grads + i, lanes) / load_lanes<V>(d + i, lanes, T(1));
      store_lanes<V>(to + i, quotient, lanes);
    });
    flush<T>(out, row * n, 1, rows * n, to);
  });
}

template <template <class> class Program>
void log_det(const LogDetArgs& a, int64_t begin, int64_t end) {
  run_rows<Program>(a, nullptr, begin, end);
}

void log_det_forward(const LogDetArgs& a, int64_t begin, int64_t end) {
  if (a.n > shortest_sums) return log_det<LogDetForward>(a, begin, end);
  a.wide == DType::f64 ? forward_short<double>(a, begin, end) : forward_short<float>(a, begin, end);
}
void log_det_backward(const LogDetArgs& a, int64_t begin, int64_t end) {
  if (a.n > shortest_gradients) return log_det<LogDetBackward>(a, begin, end);
  a.wide == DType::f64 ? backward_short<double>(a, begin, end)
                       : backward_short<float>(a, begin, end);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(log_det_forward, fk::FK_ISA::loops::log_det_forward);
FK_REGISTER_KERNEL(log_det_backward, fk::FK_ISA::loops::log_det_backward);
}  // namespace cpu
}  // namespace fk
