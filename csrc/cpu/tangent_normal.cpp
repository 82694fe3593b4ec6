// tangent_normal on the CPU, row by row; the formulas are in math/tangent_normal.h.
#include "tangent_normal.h"

#include <stdlib.h>

#include "../engine/cpu/chunk.h"
#include "../math/row_key.h"
#include "../math/tangent_normal.h"

FK_BEGIN
namespace loops {
namespace {

// The normal numbers of the counters j, j + 1, ... in the lanes.
FK_HD void fill_run(float* to, const WordVec (&word)[4]) {
  using I = raw_types<float>::integer;
  const WordVec lower = WordVec{} + 0xffffffffu;
  Vec<float> first, second;
  box_muller(I((word[0] & lower) | (word[1] << 32)), I((word[2] & lower) | (word[3] << 32)), first,
             second);
  store(to, first);
  store(to + run_numbers / 2, second);
}
FK_HD void fill_run(double* to, const WordVec (&word)[4]) {
  using I = raw_types<double>::integer;
  using V = Vec<double>;
  for (int k = 0; k < 2; ++k) {
    V first, second;
    box_muller(I(word[k] << 32) >> 32, I(word[2 + k] << 32) >> 32, first, second);
    double x[lanes_v<V>], y[lanes_v<V>];
    store(x, first);
    store(y, second);
    for (int i = 0; i < lanes_v<V>; ++i) {
      to[2 * i + k] = x[i];
      to[run_numbers / 2 + 2 * i + k] = y[i];
    }
  }
}

// The numbers of n vectors of counters, the first of which begins at j.
template <int n, class T>
void fill_runs(T* to, int64_t j, int64_t counters, const RowKey& key) {
  constexpr int lanes = lanes_v<Vec<double>>;
  WordVec lane = {};
  for (int i = 0; i < lanes; ++i) lane[i] = i;
  WordVec w[n][4];
  for (int u = 0; u < n; ++u) {
    w[u][0] = lane + static_cast<uint64_t>(j + u * lanes);
    w[u][1] = WordVec{} + key.row_low;
    w[u][2] = WordVec{} + key.row_high;
    w[u][3] = WordVec{} + uint32_t(Stream::direction);
  }
  philox(w, WordVec{} + key.low, WordVec{} + key.high);
  for (int u = 0; u < n && j + u * lanes < counters; ++u)
    fill_run(to + normal_place(j + u * lanes), w[u]);
}
// At least n normal numbers; `to` has room for whole runs.
template <class T>
void fill_normal(T* to, int64_t n, const RowKey& key) {
  constexpr int lanes = lanes_v<Vec<double>>;
  constexpr int together = lanes == 8 ? 4 : 2;  // what the registers hold
  const int64_t counters = normal_counters(n);
  int64_t j = 0;
  for (; counters - j > 2 * lanes; j += together * lanes) fill_runs<together>(to, j, counters, key);
  if (counters - j > lanes)
    fill_runs<2>(to, j, counters, key);
  else if (counters > j)
    fill_runs<1>(to, j, counters, key);
}

// Scratch of one task; rows in the type of the computation.
template <class T>
struct Workspace {
  T *normal, *loc, *row;
  explicit Workspace(int64_t dim) {
    const int64_t room = (dim + 2 * run_numbers) / run_numbers * run_numbers;
    normal = static_cast<T*>(malloc(3 * room * sizeof(T)));
    loc = normal + room;
    row = loc + room;
  }
  ~Workspace() { free(normal); }
  Workspace(const Workspace&) = delete;
};

template <class T>
const T* row_of(const RowView& o, int64_t row, int64_t n, T* buffer) {
  return fetch<T>(source(o), row * o.row_stride, o.stride, static_cast<int>(n), buffer);
}
template <class T>
T number(const RowView& o, int64_t row) {
  T value;
  return *fetch<T>(source(o), row * o.row_stride, 1, 1, &value);
}

template <class T>
void forward_row(const T* loc, int n, T cosine, T sine, const T* normal, T* x) {
  using V = Vec<T>;
  V gg(T(0)), gl(T(0));
  for_lanes<V>(n, [&](int i, int lanes) FK_INLINE_LAMBDA {
    const V g = load_lanes<V>(normal + i, lanes);
    gg += g * g;
    gl += g * load_lanes<V>(loc + 1 + i, lanes);
  });
  const auto point = tangent_point(TangentAxis<T>(loc[0]), cosine, sine, hsum(gg), hsum(gl));
  x[0] = point.head;
  const V of_loc(point.of_loc), of_normal(point.of_normal);
  for_lanes<V>(n, [&](int i, int lanes) FK_INLINE_LAMBDA {
    const V g = load_lanes<V>(normal + i, lanes), l = load_lanes<V>(loc + 1 + i, lanes);
    store_lanes<V>(x + 1 + i, l * of_loc + of_normal * g, lanes);
  });
}

template <class T>
void forward(const TangentNormalArgs& a, int64_t begin, int64_t end) {
  Workspace<T> work(a.dim);
  const Sink out = sink(a.out);
  const T* loc = a.loc_rows == 1 ? row_of(a.loc, 0, a.dim, work.loc) : nullptr;
  const int64_t last = end * vmf_block_rows < a.rows ? end * vmf_block_rows : a.rows;
  for (int64_t row = begin * vmf_block_rows; row < last; ++row) {
    fill_normal(work.normal, a.dim - 1, key_of(a.random, row));
    const T* const axis = loc ? loc : row_of(a.loc, row % a.loc_rows, a.dim, work.loc);
    T* x = target<T>(out, row * a.dim, 1, work.row);
    forward_row(axis, static_cast<int>(a.dim - 1), number<T>(a.cosine, row), number<T>(a.sine, row),
                work.normal, x);
    flush<T>(out, row * a.dim, 1, static_cast<int>(a.dim), x);
  }
}

template <class T>
void backward_row(const TangentNormalArgs& a, int64_t row, const T* loc, const T* normal,
                  const T* grad, T* grad_loc) {
  using V = Vec<T>;
  const int n = static_cast<int>(a.dim - 1);
  TangentSums<V> sums = {V(T(0)), V(T(0)), V(T(0)), V(T(0))};
  for_lanes<V>(n, [&](int i, int lanes) FK_INLINE_LAMBDA {
    const V g = load_lanes<V>(normal + i, lanes), l = load_lanes<V>(loc + 1 + i, lanes);
    const V h = load_lanes<V>(grad + 1 + i, lanes);
    sums.gg += g * g;
    sums.gl += g * l;
    sums.gh += g * h;
    sums.lh += l * h;
  });
  const TangentSums<T> totals = {hsum(sums.gg), hsum(sums.gl), hsum(sums.gh), hsum(sums.lh)};
  const auto grads = tangent_gradients(TangentAxis<T>(loc[0]), number<T>(a.cosine, row),
                                       number<T>(a.sine, row), grad[0], totals);
  static_cast<T*>(a.grad_cosine)[row] = grads.cosine;
  static_cast<T*>(a.grad_sine)[row] = grads.sine;
  if (grad_loc == nullptr) return;
  const V of_normal(grads.of_normal), of_grad(grads.of_grad);
  grad_loc[0] = a.sum_grad_loc ? grad_loc[0] + grads.head : grads.head;
  for_lanes<V>(n, [&](int i, int lanes) FK_INLINE_LAMBDA {
    V r =
        of_normal * load_lanes<V>(normal + i, lanes) + of_grad * load_lanes<V>(grad + 1 + i, lanes);
    if (a.sum_grad_loc) r += load_lanes<V>(grad_loc + 1 + i, lanes);
    store_lanes<V>(grad_loc + 1 + i, r, lanes);
  });
}

template <class T>
void backward(const TangentNormalArgs& a, int64_t begin, int64_t end) {
  Workspace<T> work(a.dim);
  const T* loc = a.loc_rows == 1 ? row_of(a.loc, 0, a.dim, work.loc) : nullptr;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t first = block * vmf_block_rows;
    const int64_t last = first + vmf_block_rows < a.rows ? first + vmf_block_rows : a.rows;
    T* grad_loc = static_cast<T*>(a.grad_loc);
    if (grad_loc != nullptr) grad_loc += (a.sum_grad_loc ? block : first) * a.dim;
    if (grad_loc != nullptr && a.sum_grad_loc) memset(grad_loc, 0, a.dim * sizeof(T));
    for (int64_t row = first; row < last; ++row) {
      fill_normal(work.normal, a.dim - 1, key_of(a.random, row));
      const T* const axis = loc ? loc : row_of(a.loc, row % a.loc_rows, a.dim, work.loc);
      backward_row(a, row, axis, work.normal, row_of(a.grad, row, a.dim, work.row), grad_loc);
      if (grad_loc != nullptr && !a.sum_grad_loc) grad_loc += a.dim;
    }
  }
}

void run_forward(const TangentNormalArgs& a, int64_t begin, int64_t end) {
  a.wide == DType::f64 ? forward<double>(a, begin, end) : forward<float>(a, begin, end);
}
void run_backward(const TangentNormalArgs& a, int64_t begin, int64_t end) {
  a.wide == DType::f64 ? backward<double>(a, begin, end) : backward<float>(a, begin, end);
}

}  // namespace
}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(tangent_normal_forward, fk::FK_ISA::loops::run_forward);
FK_REGISTER_KERNEL(tangent_normal_backward, fk::FK_ISA::loops::run_backward);
}  // namespace cpu
}  // namespace fk
