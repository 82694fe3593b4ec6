// What a program reads of rows along which vectors run, and its sums.
#pragma once

#include <stdlib.h>

#include "log_product.h"
#include "row_values.h"

FK_BEGIN
namespace loops {

// Elements of the rows that are summed before the first of them is read again, from the nearest
// cache.
constexpr int group_elements = 4096;
// The longest rows that are not divided.
constexpr int medium_row = group_elements / 4;
// Elements that are summed in the compute type, where no buffer bounds them.
constexpr int longest_sum = 4 * chunk_size;

template <bool first, class A, class B>
struct Choose {
  using type = A;
};
template <class A, class B>
struct Choose<false, A, B> {
  using type = B;
};

// A number of each row in hand: in a vector's lanes, or of the only one.
template <class P, class T, bool divided>
using GroupValue = typename Choose<(divided && P::compute_outputs == 0), T, Vec<T>>::type;

template <class P, class E, bool divided>
class GroupInputs : public RowValues<GroupValue<P, compute_t<E>, divided>> {
  using T = compute_t<E>;
  using V = Vec<T>;
  using Base = RowValues<GroupValue<P, T, divided>>;
  static constexpr int lanes = lanes_v<V>;

 protected:
  using Base::count_, Base::row_, Base::point_;
  static constexpr bool in_compute = __is_same(E, T);
  static constexpr int inputs = P::inputs;
  static constexpr int rows = Base::lanes, at_once = rows < 4 ? 1 : 4;

 public:
  using typename Base::Value;

  explicit GroupInputs(const typename P::Args& a) : n_(P::elements(a)) {
    for (int k = 0; k < inputs; ++k) {
      in_[k] = P::input(a, k);
      direct_in_[k] = is_direct<E>(in_[k].view);
    }
  }
  ~GroupInputs() { free(replacement_); }
  GroupInputs(const GroupInputs&) = delete;
  GroupInputs& operator=(const GroupInputs&) = delete;

  FK_HD Value end_of(int input) const {
    const PointView& o = in_[input].view;
    if constexpr (divided) return Base::read(o, row_ * o.row_stride + n_ * o.stride);
    T values[rows] = {};
    const E* const from = from_[input] + n_;
    const int64_t step = step_[input];
    for (int r = 0; r < count_; ++r) values[r] = to_compute(from[r * step]);
    return load<Value>(values);
  }
  template <template <class> class S, int used = inputs, template <class> class C, class F>
  FK_HD S<Value> sum(const C<Value>& c, F f) const {
    constexpr int fields = fields_of<S<V>, V>;
    constexpr int chains = !divided ? 1 : fields < 3 ? 4 : 2;  // hide the additions' latency
    const Lanes<C, Value> coefficients(c);
    const int count = count_;
    T totals[fields][rows] = {};
    for (int r = 0; r < count; ++r) {
      const C<V> mine = coefficients.template spread<V>(r);
      for_chunks<used>(r, [&](int n, const E* const* from) FK_INLINE_LAMBDA {
        S<V> part[chains];
        for (auto& p : part) p = zeros<S<V>, V>();
        const auto add = [&](int i, int m, S<V>& s) FK_INLINE_LAMBDA {
          V in[used];
          for (int k = 0; k < used; ++k) in[k] = load_lanes<V>(from[k] + i, m);
          f(mine, in, s);
        };
        int i = 0;
        if constexpr (chains > 1)
          for (; i + chains * lanes <= n; i += chains * lanes)
            for (int k = 0; k < chains; ++k) add(i + k * lanes, lanes, part[k]);
        for (; i + lanes <= n; i += lanes) add(i, lanes, part[0]);
        if (i < n) add(i, n - i, part[0]);
        add_to(totals, r, part);
      });
    }
    return values_of<S<Value>>(totals);
  }

  // An input's elements from here on are f(c, in, positions).
  template <template <class> class C, class F>
  void replace(int input, const C<Value>& c, F f) {
    const Lanes<C, Value> coefficients(c);
    T* const to = replacement(input);
    for (int r = 0; r < count_; ++r) {
      const C<V> mine = coefficients.template spread<V>(r);
      int64_t first = 0;
      for_chunks<inputs>(r, [&](int n, const E* const* from) {
        for_lanes<V>(n, [&](int i, int m) {
          V in[inputs];
          for (int k = 0; k < inputs; ++k) in[k] = load_lanes<V>(from[k] + i, m);
          const V position = V(static_cast<T>(first + i)) + iota<V>();
          store_lanes<V>(to + r * n_ + first + i, f(mine, in, position), m);
        });
        first += n;
      });
    }
    from_[input] = to;
    step_[input] = n_;
    replaced_ = input;
  }
  template <bool float64>
  FK_HD SquaredLength<Value> squared_length(int input) const {
    T square[rows] = {}, excess[rows] = {};
    const int count = count_;
    for (int r = 0; r < count; ++r) {
      double sum = 0;
      for_chunks_of(input, r, [&](int n, const E* x) FK_INLINE_LAMBDA {
        // Squares of bfloat16 keep more of a float's accuracy.
        if constexpr (float64 && !__is_same(E, BFloat16)) {
          sum += sum_squares(x, n);
        } else {
          sum += sum_squares_by_fours(x, n);
        }
      });
      square[r] = static_cast<T>(sum);
      excess[r] = static_cast<T>(sum - 1);
    }
    return {load<Value>(square), load<Value>(excess)};
  }
  template <bool float64>
  FK_HD SquaredLength<Value> squared_length(int input, Value scale) const {
    T scales[rows], squares[rows] = {}, excess[rows] = {};
    store<Value>(scales, scale);
    scaled_squares(input, scales, squares, excess);
    return {load<Value>(squares), load<Value>(excess)};
  }
  FK_HD Value sum_log_abs(int input) const {
    double product[rows], exponent[rows] = {}, rest[rows] = {};
    for (double& p : product) p = 1;
    const int count = count_;
    for (int r = 0; r < count; ++r)
      for_chunks_of(input, r, [&](int n, const E* x) FK_INLINE_LAMBDA {
        if constexpr (sizeof(T) == 8) {
          rest[r] += sum_logs(x, n);
        } else {
          add_logs(x, n, product[r], exponent[r], rest[r]);
        }
      });
    T sums[rows];
    for (int r = 0; r < rows; r += log_lanes) {
      const L log_product =
          LogProduct::logs(load<L>(product + r), load<L>(exponent + r)) + load<L>(rest + r);
      for (int k = 0; k < log_lanes; ++k) sums[r + k] = static_cast<T>(lane(log_product, k));
    }
    return load<Value>(sums);
  }
  // The first element of least magnitude, and its position.
  Value smallest(int input, Value& position) const {
    T least[rows] = {}, at[rows] = {};
    for (int r = 0; r < count_; ++r) {
      int64_t first = 0;
      for_chunks_of(input, r, [&](int n, const E* x) {
        for (int i = 0; i < n; ++i) {
          const T v = to_compute(x[i]);
          if (first + i > 0 && !(abs(v) < abs(least[r]))) continue;
          least[r] = v;
          at[r] = static_cast<T>(first + i);
        }
        first += n;
      });
    }
    position = load<Value>(at);
    return load<Value>(least);
  }
  FK_HD Value largest(int input) const {
    T most[rows] = {};
    largest_of(input, most);
    return load<Value>(most);
  }

 protected:
  template <class U>
  static bool is_direct(const RowView& o) {
    return o.base == nullptr || (o.dtype == dtype_of<U> && o.stride == 1);
  }
  // From the row on, at the point in hand.
  template <class U>
  FK_HD U* row_of(const PointView& o, int64_t row) const {
    return static_cast<U*>(o.base) + row * o.row_stride + point_ * o.point_stride;
  }
  // body(n, x) for the chunks of row r.
  template <class Body>
  FK_HD void for_chunks_of(int input, int r, Body body) const {
    if constexpr (!divided) return body(static_cast<int>(n_), from_[input] + r * step_[input]);
    const PointView& o = in_[input].view;
    const bool direct = direct_in_[input] && replaced_ != input;
    const E* const x = row_of<const E>(o, row_ + r);
    for_pieces(direct ? longest_sum : chunk_size, [&](int64_t first, int n) FK_INLINE_LAMBDA {
      body(n, direct ? x + first : piece(input, r, first, n, read_[input]));
    });
  }
  // body(n, pointers) for those of the first inputs together.
  template <int used, class Body>
  FK_HD void for_chunks(int r, Body body) const {
    const E* from[used];
    if constexpr (!divided) {
      for (int k = 0; k < used; ++k) from[k] = from_[k] + r * step_[k];
      return body(static_cast<int>(n_), from);
    }
    bool direct = true;
    for (int k = 0; k < used; ++k) direct = direct && direct_in_[k];
    for_pieces(direct ? longest_sum : chunk_size, [&](int64_t first, int n) FK_INLINE_LAMBDA {
      for (int k = 0; k < used; ++k) from[k] = piece(k, r, first, n, read_[k]);
      body(n, from);
    });
  }
  template <class Body>
  FK_HD void for_pieces(int longest, Body body) const {
    const int64_t all = n_;
    for (int64_t first = 0; first < all; first += longest)
      body(first, static_cast<int>(all - first < longest ? all - first : longest));
  }
  FK_HD const E* piece(int input, int r, int64_t first, int n, E* buffer) const {
    const PointView& o = in_[input].view;
    if (in_compute && replaced_ == input) return from_[input] + first;
    const int64_t at = (row_ + r) * o.row_stride + point_ * o.point_stride + first * o.stride;
    return fetch<E>(source(o), at, o.stride, n, buffer);
  }
  FK_HD void load_rows(int k) {
    if (replaced_ == k) replaced_ = -1;
    if constexpr (divided) return;
    const PointView& o = in_[k].view;
    from_[k] = direct_in_[k] ? row_of<const E>(o, row_) : read_[k];
    step_[k] = direct_in_[k] ? o.row_stride : n_ + in_[k].end;
    if (!direct_in_[k]) collect_rows(k);
  }
  // The rows of a group, contiguous and in one type.
  __attribute__((noinline)) void collect_rows(int k) {
    const PointView& o = in_[k].view;
    const int width = static_cast<int>(n_) + in_[k].end;
    for (int r = 0; r < count_; ++r)
      fetch<E>(source(o), (row_ + r) * o.row_stride + point_ * o.point_stride, o.stride, width,
               read_[k] + r * width);
  }
  // ---- sums ----

  template <class S, int chains>
  static FK_HD void add_to(T (*totals)[rows], int r, S (&part)[chains]) {
    V sums[fields_of<S, V>];
    for_fields<V>(part[0], [&](int k, const V& v) FK_INLINE_LAMBDA { sums[k] = v; });
    for (int j = 1; j < chains; ++j)
      for_fields<V>(part[j], [&](int k, const V& v) FK_INLINE_LAMBDA { sums[k] += v; });
    for (int k = 0; k < fields_of<S, V>; ++k) totals[k][r] += hsum(sums[k]);
  }
  template <class S>
  static FK_HD S values_of(const T (*totals)[rows]) {
    S s;
    for_fields<Value>(s, [&](int k, Value& v) FK_INLINE_LAMBDA { v = load<Value>(totals[k]); });
    return s;
  }
  // Logarithms of products in float64: a vector of them, where there are rows for one.
  using L = typename Choose<(rows >= lanes_v<Vec<double>>), Vec<double>, double>::type;
  static constexpr int log_lanes = lanes_v<L>;
  static FK_HD double lane(double v, int) { return v; }
  static FK_HD double lane(Vec<double> v, int k) { return v.raw[k]; }
  static FK_HD void add_logs(const E* x, int n, double& product, double& exponent, double& rest) {
    const auto add = [&](const float* d, int m) FK_INLINE_LAMBDA {
      double p, e, other;
      product_of(d, m).merge(p, e, other);
      // Only the first piece's product needs no logarithm of its own.
      if (product != 1 || exponent != 0) rest += LogProduct::logs(product, exponent);
      product = p;
      exponent = e;
      rest += other;
    };
    if constexpr (__is_same(E, BFloat16)) {
      float d[chunk_size];
      for (int i = 0; i < n; i += chunk_size) {
        const int m = n - i < chunk_size ? n - i : chunk_size;
        for_lanes<V>(m, [&](int j, int k) FK_INLINE_LAMBDA {
          store_lanes<V>(d + j, load_lanes<V>(x + i + j, k), k);
        });
        add(d, m);
      }
    } else {
      add(x, n);
    }
  }
  __attribute__((noinline)) void scaled_squares(int input, const T* scales, T* squares,
                                                T* excess) const {
    for (int r = 0; r < count_; ++r) {
      double sum = 0;
      for_chunks_of(input, r, [&](int n, const E* x) {
        for (int i = 0; i < n; ++i) {
          const double v = static_cast<double>(to_compute(x[i]) * scales[r]);
          sum += v * v;
        }
      });
      squares[r] = static_cast<T>(sum);
      excess[r] = static_cast<T>(sum - 1);
    }
  }
  __attribute__((noinline)) void largest_of(int input, T* most) const {
    for (int r = 0; r < count_; ++r)
      for_chunks_of(input, r, [&](int n, const E* x) {
        for (int i = 0; i < n; ++i) most[r] = max(most[r], abs(to_compute(x[i])));
      });
  }

  // Room for an input that is replaced.
  T* replacement(int input) {
    if constexpr (!divided) return read_[input];
    if (replacement_ == nullptr) replacement_ = static_cast<T*>(malloc(n_ * sizeof(T)));
    return replacement_;
  }
  FK_HD E* buffer(int i) const { return read_[i]; }

  int64_t n_;
  RowInput in_[inputs];
  bool direct_in_[inputs];
  int replaced_ = -1;
  T* replacement_ = nullptr;
  // Where the rows of a group begin, and from one to the next.
  const E* from_[inputs] = {};
  int64_t step_[inputs] = {};
  // A group's rows with their ends, or chunks of the rows handled at once.
  static constexpr int buffers = divided ? at_once : 1;
  static constexpr int room = divided ? chunk_size : group_elements + 2 * lanes;
  alignas(line_bytes) mutable E read_[buffers * inputs][room];
};

}  // namespace loops
FK_END
