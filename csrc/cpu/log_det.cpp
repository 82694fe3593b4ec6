// sum log|d| row by row: d log|d| = grad / d.
#include "log_det.h"

#include "../math/elementary.h"
#include "wide.h"

FK_BEGIN
namespace loops {

// ---- long rows -------------------------------------------------------------------

// sum log|d| of float32 as one logarithm of a product in float64.  Six factors
// between 2^-149 and 2^128 stay normal in float64; then the product gives its exponent to
// an integer sum and keeps its mantissa.  A multiplication costs a fraction of a
// logarithm, and errs by 2^-53 where a float32 logarithm errs by 2^-25.
class LogProduct {
 public:
  using V = Vec<double>;
  static constexpr int factors = 6;

  // At most 1000 calls: every mantissa may double the product.
  FK_HD void times(V q) {
    q = abs(q);
    const auto ordinary = (q >= real<V>(smallest)) & (q < V(double(INFINITY)));
    if (any(!ordinary)) {
      rest_ += select(ordinary, real<V>(0.0), log(q));
      q = select(ordinary, q, real<V>(1.0));
    }
    const Bits bits = (Bits)q.raw;
    exponent_ += bits >> 52;
    count_ += 1023;
    product_ *= V((V::Raw)((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull));
  }
  FK_HD double log_sum() const {
    int64_t exponent = 0;
    for (int i = 0; i < V::size; ++i) exponent += int64_t(exponent_[i]) - count_;
    return hsum(log(product_) + rest_) + double(exponent) * 0.69314718055994530942;
  }

 private:
  typedef uint64_t Bits __attribute__((vector_size(FK_VECTOR_BYTES)));
  static constexpr double smallest = 2.2250738585072014e-308;

  V product_ = real<V>(1.0), rest_ = real<V>(0.0);
  Bits exponent_ = {};
  int64_t count_ = 0;
};

double sum_log_abs(const float* d, int n) {
  using V = Vec<double>;
  constexpr int step = LogProduct::factors * V::size;
  LogProduct product;
  int i = 0;
  for (; i + step <= n; i += step) {
    V q = widen(d + i);
    for (int k = 1; k < LogProduct::factors; ++k) q *= widen(d + i + k * V::size);
    product.times(q);
  }
  for (; i + V::size <= n; i += V::size) product.times(widen(d + i));
  if (i < n) {
    float last[V::size];
    for (int k = 0; k < V::size; ++k) last[k] = i + k < n ? d[i + k] : 1.0f;
    product.times(widen(last));
  }
  return product.log_sum();
}

// float64 keeps its digits only as a sum of logarithms: near |d| = 1 they are small.
double sum_log_abs(const double* d, int n) {
  using V = Vec<double>;
  V total(0.0);
  // Lanes past the end hold 1, whose logarithm adds nothing.
  for_lanes<V>(n, [&](int i, int lanes)
                      FK_INLINE_LAMBDA { total += log(abs(load_lanes<V>(d + i, lanes, 1.0))); });
  return hsum(total);
}

template <class T>
void forward_long(const LogDetArgs& a, int64_t begin, int64_t end) {
  T buffer[tile_size];
  for (int64_t row = begin; row < end; ++row) {
    double sum = 0;
    for (int64_t i = 0; i < a.n; i += tile_size) {
      const int n = a.n - i < tile_size ? static_cast<int>(a.n - i) : tile_size;
      const int64_t offset = row * a.row_stride + i * a.stride;
      sum += sum_log_abs(fetch<T>({a.diag, a.dtype}, offset, a.stride, n, buffer), n);
    }
    put(Sink{a.log_det, a.wide}, row, sum);
  }
}

// ---- short rows: many to a tile ---------------------------------------------------

constexpr int short_row = 48;

// A block of rows, dense.
template <class T>
const T* fetch_rows(const LogDetArgs& a, int64_t row, int rows, T* buffer) {
  const int n = static_cast<int>(a.n);
  const Source diag{a.diag, a.dtype};
  if (a.row_stride == a.n * a.stride || rows == 1)
    return fetch<T>(diag, row * a.row_stride, a.stride, rows * n, buffer);
  if (a.stride == 1 && a.dtype == dtype_of<T>) {
    const T* from = static_cast<const T*>(a.diag) + row * a.row_stride;
    copy_runs(from, a.row_stride, buffer, a.n, n, rows);
    return buffer;
  }
  with_reader<T>(diag, [=](auto read) {
    for (int r = 0; r < rows; ++r)
      for (int i = 0; i < n; ++i) buffer[r * n + i] = read((row + r) * a.row_stride + i * a.stride);
  });
  return buffer;
}

// Calls body(row, rows) for blocks that fill a tile.
template <class Body>
void for_blocks(const LogDetArgs& a, int64_t begin, int64_t end, Body body) {
  const int64_t block = a.n > 0 ? tile_size / a.n : tile_size;
  for (int64_t row = begin; row < end; row += block)
    body(row, static_cast<int>(end - row < block ? end - row : block));
}

template <class T>
void forward_short(const LogDetArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  T buffer[tile_size], logs[tile_size], sums[tile_size];
  const int n = static_cast<int>(a.n);
  const Sink out{a.log_det, a.wide};
  for_blocks(a, begin, end, [&](int64_t row, int rows) {
    const T* d = fetch_rows(a, row, rows, buffer);
    for_lanes<V>(rows * n, [&](int i, int lanes) FK_INLINE_LAMBDA {
      store_lanes<V>(logs + i, log(abs(load_lanes<V>(d + i, lanes, T(1)))), lanes);
    });
    T* const to = target<T>(out, row, 1, sums);
    sum_runs(logs, n, rows, to);
    flush<T>(out, row, 1, rows, to);
  });
}

template <class T>
void backward_short(const LogDetArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  T buffer[tile_size], per_row[tile_size], grads[tile_size], result[tile_size];
  const int n = static_cast<int>(a.n);
  const Sink out{a.grad_diag, a.dtype};
  for_blocks(a, begin, end, [&](int64_t row, int rows) {
    const T* d = fetch_rows(a, row, rows, buffer);
    const T* g =
        fetch<T>({a.grad_log_det, a.wide}, row * a.grad_stride, a.grad_stride, rows, per_row);
    spread_runs(g, n, rows, grads);
    T* const to = target<T>(out, row * n, 1, result);
    for_lanes<V>(rows * n, [&](int i, int lanes) FK_INLINE_LAMBDA {
      const V quotient = load_lanes<V>(grads + i, lanes) / load_lanes<V>(d + i, lanes, T(1));
      store_lanes<V>(to + i, quotient, lanes);
    });
    flush<T>(out, row * n, 1, rows * n, to);
  });
}

template <class T>
void backward_long(const LogDetArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  T buffer[tile_size], result[tile_size];
  const Sink out{a.grad_diag, a.dtype};
  for (int64_t row = begin; row < end; ++row) {
    T g;
    fetch<T>({a.grad_log_det, a.wide}, row * a.grad_stride, 0, 1, &g);
    for (int64_t i = 0; i < a.n; i += tile_size) {
      const int n = a.n - i < tile_size ? static_cast<int>(a.n - i) : tile_size;
      const int64_t offset = row * a.row_stride + i * a.stride;
      const T* d = fetch<T>({a.diag, a.dtype}, offset, a.stride, n, buffer);
      T* const to = target<T>(out, row * a.n + i, 1, result);
      for_lanes<V>(n, [&](int j, int lanes) FK_INLINE_LAMBDA {
        store_lanes<V>(to + j, V(g) / load_lanes<V>(d + j, lanes, T(1)), lanes);
      });
      flush<T>(out, row * a.n + i, 1, n, to);
    }
  }
}

// ---- which of them ------------------------------------------------------------------

template <class T>
void forward(const LogDetArgs& a, int64_t begin, int64_t end) {
  a.n <= short_row ? forward_short<T>(a, begin, end) : forward_long<T>(a, begin, end);
}
template <class T>
void backward(const LogDetArgs& a, int64_t begin, int64_t end) {
  a.n <= short_row ? backward_short<T>(a, begin, end) : backward_long<T>(a, begin, end);
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
