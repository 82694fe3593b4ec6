// x = R(loc) [cosine, sine v], v uniform on the sphere across the axis, and its gradients.
//
// R is the isometry that takes e_1 to loc: -sign(loc_1) times the reflection along
// loc + sign(loc_1) e_1, which is never shorter than sqrt(2), so that nothing happens near the
// axes.  R is symmetric.  With loc = [m, l], c = sign(m) / (1 + |m|) and y = [y_0, y_r]:
//   R y = [m y_0 + l.y_r,  l (y_0 + c l.y_r) - sign(m) y_r]
#include "tangent_normal.h"

#include <stdlib.h>

#include "../engine/cpu/chunk.h"
#include "../math/philox.h"
#include "../math/row_key.h"

FK_BEGIN
namespace loops {
namespace {

// Counter j of a row gives the normal numbers 2 j', 2 j' + 1 and 16 + 2 j', 17 + 2 j' of run
// j / 8 of 32 numbers, j' = j % 8: what is contiguous in a vector is so in memory.
constexpr int run_counters = 8, run_numbers = 32;

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

// At least n normal numbers; `to` has room for whole runs.
template <class T>
void fill_normal(T* to, int64_t n, const RowKey& key) {
  constexpr int lanes = lanes_v<Vec<double>>;
  WordVec lane = {};
  for (int i = 0; i < lanes; ++i) lane[i] = i;
  const WordVec row_low = WordVec{} + key.row_low, row_high = WordVec{} + key.row_high;
  // The last run's first half, or all of it.
  const int64_t rest = n % run_numbers;
  const int64_t counters = n / run_numbers * run_counters +
                           (2 * rest < run_numbers ? (rest + 1) / 2 : int64_t{run_counters});
  for (int64_t j = 0; j < counters; j += lanes) {
    WordVec w[4] = {lane + static_cast<uint64_t>(j), row_low, row_high,
                    WordVec{} + uint32_t(Stream::direction)};
    philox(w[0], w[1], w[2], w[3], WordVec{} + key.low, WordVec{} + key.high);
    fill_run(to + j / run_counters * run_numbers + j % run_counters * 2, w);
  }
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

// loc as the isometry needs it.
template <class T>
struct Axis {
  T first, sign, c;
  const T* rest;
  explicit Axis(const T* loc)
      : first(loc[0]),
        sign(loc[0] < T(0) ? T(-1) : T(1)),
        c(sign / (1 + abs(loc[0]))),
        rest(loc + 1) {}
};

template <class T>
void forward_row(const Axis<T>& axis, int64_t n, T cosine, T sine, const T* normal, T* x) {
  using V = Vec<T>;
  V square(T(0)), dot(T(0));
  for_lanes<V>(static_cast<int>(n), [&](int i, int lanes) FK_INLINE_LAMBDA {
    const V g = load_lanes<V>(normal + i, lanes);
    square += g * g;
    dot += g * load_lanes<V>(axis.rest + i, lanes);
  });
  const T length = sine / sqrt(hsum(square)), along = hsum(dot) * length;
  x[0] = axis.first * cosine + along;
  const V gain(cosine + axis.c * along), across(-axis.sign * length);
  for_lanes<V>(static_cast<int>(n), [&](int i, int lanes) FK_INLINE_LAMBDA {
    const V g = load_lanes<V>(normal + i, lanes), l = load_lanes<V>(axis.rest + i, lanes);
    store_lanes<V>(x + 1 + i, l * gain + across * g, lanes);
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
    const Axis<T> axis(loc ? loc : row_of(a.loc, row % a.loc_rows, a.dim, work.loc));
    T* x = target<T>(out, row * a.dim, 1, work.row);
    forward_row(axis, a.dim - 1, number<T>(a.cosine, row), number<T>(a.sine, row), work.normal, x);
    flush<T>(out, row * a.dim, 1, static_cast<int>(a.dim), x);
  }
}

// With g = [g_0, g_r] the gradient of x and t = sine v:
//   cosine: loc.g        sine: v.(l (g_0 + c l.g_r) - sign g_r)
//   m: g_0 cosine - (l.g_r) (l.t) / (1 + |m|)^2
//   l: g_0 t + g_r (cosine + c l.t) + c (l.g_r) t
template <class T>
void backward_row(const TangentNormalArgs& a, int64_t row, const Axis<T>& axis, const T* normal,
                  const T* grad, T* grad_loc) {
  using V = Vec<T>;
  const int n = static_cast<int>(a.dim - 1);
  V square(T(0)), dot(T(0)), grad_dot(T(0)), grad_loc_dot(T(0));
  for_lanes<V>(n, [&](int i, int lanes) FK_INLINE_LAMBDA {
    const V v = load_lanes<V>(normal + i, lanes), l = load_lanes<V>(axis.rest + i, lanes);
    const V g = load_lanes<V>(grad + 1 + i, lanes);
    square += v * v;
    dot += v * l;
    grad_dot += v * g;
    grad_loc_dot += l * g;
  });
  const T inverse = 1 / sqrt(hsum(square)), cosine = number<T>(a.cosine, row);
  const T length = number<T>(a.sine, row) * inverse;
  const T lv = hsum(dot), lg = hsum(grad_loc_dot);
  static_cast<T*>(a.grad_cosine)[row] = axis.first * grad[0] + lg;
  static_cast<T*>(a.grad_sine)[row] =
      inverse * (lv * (grad[0] + axis.c * lg) - axis.sign * hsum(grad_dot));
  if (grad_loc == nullptr) return;
  const T along = lv * length;
  const V of_normal(length * (grad[0] + axis.c * lg)), of_grad(cosine + axis.c * along);
  const T head = grad[0] * cosine - lg * along * axis.c * axis.c;
  grad_loc[0] = a.sum_grad_loc ? grad_loc[0] + head : head;
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
      const Axis<T> axis(loc ? loc : row_of(a.loc, row % a.loc_rows, a.dim, work.loc));
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
