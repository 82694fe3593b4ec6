// Short rows: a block of them transposed, so that vectors run across the rows.
#pragma once

#include "log_product.h"
#include "row_values.h"
#include "transpose.h"

FK_BEGIN
namespace loops {

// The longest rows that are transposed.
constexpr int short_row = 24;

template <class P, class T>
class ColumnRows : public RowValues<Vec<T>> {
  using Base = RowValues<Vec<T>>;
  using V = Vec<T>;
  using Base::count_, Base::row_;

 public:
  using Base::lanes;

  explicit ColumnRows(const typename P::Args& a) : n_(static_cast<int>(P::elements(a))) {
    for (int k = 0; k < P::inputs; ++k) in_[k] = P::input(a, k);
    for (int k = 0; k < P::outputs; ++k) {
      out_[k] = P::output(a, k);
      // Results take the place of the input whose gradients they are or whose image.
      const bool in_place = k < P::inputs && in_[k].view.row_stride != 0;
      columns_[k] = in_place ? from_[k] : to_[k];
    }
  }

  void load_block(int64_t row, int rows) {
    for (int k = 0; k < P::inputs; ++k) {
      const RowView& o = in_[k].view;
      const int width = n_ + in_[k].end;
      if (o.row_stride == 0) {
        if (first_block_) fill(o, width, from_[k]);
        continue;
      }
      // Lanes beyond the last row compute on numbers.
      if (first_block_ && rows < block_rows) memset(from_[k], 0, width * sizeof(from_[k][0]));
      load_columns<T>(source(o), row * o.row_stride, o.row_stride, o.stride, rows, width, from_[k]);
    }
    first_row_ = row;
    rows_ = rows;
    first_block_ = false;
  }
  FK_HD void move_to(int r) {
    r_ = r;
    row_ = first_row_ + r;
    count_ = rows_ - r < lanes ? rows_ - r : lanes;
  }
  void store_block() {
    for (int k = 0; k < P::outputs; ++k) {
      const RowView& o = out_[k].view;
      const int width = n_ + out_[k].end;
      if (o.base == nullptr) continue;
      if (out_[k].sums_rows) {
        T* to = static_cast<T*>(o.base) + first_row_ / block_rows * o.row_stride;
        for (int i = 0; i < width; ++i) to[i] = hsum(load<V>(columns_[k][i]));
      } else {
        store_columns<T>(sink(o), first_row_ * o.row_stride, rows_, width, columns_[k]);
      }
    }
  }

  FK_HD V end_of(int input) const { return load<V>(from_[input][n_] + r_); }
  FK_HD void set_end(int output, V value) { set(output, n_, value); }

  template <template <class> class S, int used = P::inputs, class C, class F>
  FK_HD S<V> sum(const C& c, F f) const {
    S<V> s = zeros<S<V>, V>();
    for (int i = 0; i < n_; ++i) {
      V in[used];
      for (int k = 0; k < used; ++k) in[k] = load<V>(from_[k][i] + r_);
      f(c, in, s);
    }
    return s;
  }

  template <template <class> class S, class C, class F>
  FK_HD S<V> map(const C& c, F f) {
    S<V> s = zeros<S<V>, V>();
    for (int i = 0; i < n_; ++i) {
      V in[P::inputs], out[P::outputs];
      for (int k = 0; k < P::inputs; ++k) in[k] = load<V>(from_[k][i] + r_);
      f(c, in, out, s);
      for (int k = 0; k < P::outputs; ++k) set(k, i, out[k]);
    }
    return s;
  }
  template <class C, class F>
  FK_HD void map(const C& c, F f) {
    map<NoSums>(c, [&](const auto& c_, const auto& in, auto& out, auto&)
                       FK_INLINE_LAMBDA { f(c_, in, out); });
  }

  template <bool float64>
  FK_HD SquaredLength<V> squared_length(int input) const {
    return squares<false>(input, real<V>(1.0));
  }
  template <bool float64>
  FK_HD SquaredLength<V> squared_length(int input, V scale) const {
    return squares<true>(input, scale);
  }
  FK_HD V sum_log_abs(int input) const {
    if constexpr (sizeof(T) == 8) {
      V sum = real<V>(0.0);
      for (int i = 0; i < n_; ++i) sum += log(abs(load<V>(from_[input][i] + r_)));
      return sum;
    } else {
      using L = LogProduct::V;
      LogProduct products[lanes / lanes_v<L>];
      T sums[lanes];
      for (int k = 0; k < lanes / lanes_v<L>; ++k) {
        const auto factor = [&](int i) FK_INLINE_LAMBDA {
          return widen(from_[input][i] + r_ + k * lanes_v<L>);
        };
        for (int i = 0; i < n_; i += LogProduct::factors) {
          const int after = i + LogProduct::factors < n_ ? i + LogProduct::factors : n_;
          L q = factor(i);
          for (int j = i + 1; j < after; ++j) q *= factor(j);
          products[k].times(q);
        }
        const L logs = products[k].logs();
        for (int j = 0; j < lanes_v<L>; ++j) sums[k * lanes_v<L> + j] = static_cast<T>(logs.raw[j]);
      }
      return load<V>(sums);
    }
  }
  // The first element of least magnitude, and its position.
  FK_HD V smallest(int input, V& position) const {
    V least = load<V>(from_[input][0] + r_);
    position = real<V>(0.0);
    for (int i = 1; i < n_; ++i) {
      const V x = load<V>(from_[input][i] + r_);
      const mask_t<V> less = abs(x) < abs(least);
      least = select(less, x, least);
      position = select(less, V(static_cast<T>(i)), position);
    }
    return least;
  }
  template <class C, class F>
  FK_HD void replace(int input, const C& c, F f) {
    for (int i = 0; i < n_; ++i) {
      V in[P::inputs];
      for (int k = 0; k < P::inputs; ++k) in[k] = load<V>(from_[k][i] + r_);
      store<V>(from_[input][i] + r_, f(c, in, V(static_cast<T>(i))));
    }
  }
  // Rows of one point each.
  FK_HD void point(int64_t) {}
  template <class C, class F>
  FK_HD void add(bool, const C& c, F f) {
    map(c, f);
  }
  FK_HD V largest(int input) const {
    V most = real<V>(0.0);
    for (int i = 0; i < n_; ++i) most = max(most, abs(load<V>(from_[input][i] + r_)));
    return most;
  }

 private:
  static void fill(const RowView& o, int width, Columns<T> to) {
    with_reader<T>(source(o), [=](auto read) {
      for (int i = 0; i < width; ++i) {
        const T value = read(i * o.stride);
        for (int r = 0; r < block_rows; ++r) to[i][r] = value;
      }
    });
  }
  FK_HD void set(int k, int i, V value) {
    if (!out_[k].sums_rows) return store<V>(columns_[k][i] + r_, value);
    T* const sums = columns_[k][i];
    if (count_ < lanes) {
      T values[lanes];
      store<V>(values, value);
      value = load_n<V>(values, count_);
    }
    store<V>(sums, r_ == 0 ? value : load<V>(sums) + value);
  }
  template <bool scaled>
  FK_HD SquaredLength<V> squares(int input, V scale) const {
    if constexpr (sizeof(T) == 8) {
      V sum = real<V>(0.0);
      for (int i = 0; i < n_; ++i) {
        V v = load<V>(from_[input][i] + r_);
        if constexpr (scaled) v *= scale;
        sum = fma(v, v, sum);
      }
      return {sum, sum - real<V>(1.0)};
    } else {
      T scales[lanes];
      if constexpr (scaled) store<V>(scales, scale);
      constexpr int parts = lanes / wide_lanes;
      Wide sum[parts] = {}, less[parts];
      for (int i = 0; i < n_; ++i)
        for (int k = 0; k < parts; ++k) {
          Wide v = load_wide(from_[input][i] + r_ + k * wide_lanes);
          if constexpr (scaled) v *= load_wide(scales + k * wide_lanes);
          sum[k] += v * v;
        }
      for (int k = 0; k < parts; ++k) less[k] = sum[k] - 1;
      return {narrow(sum), narrow(less)};
    }
  }

  int n_;
  int64_t first_row_ = 0;
  int rows_ = 0, r_ = 0;
  bool first_block_ = true;
  RowInput in_[P::inputs];
  RowOutput out_[P::outputs > 0 ? P::outputs : 1];
  Columns<T> columns_[P::outputs > 0 ? P::outputs : 1];
  alignas(line_bytes) T from_[P::inputs][short_row + 1][block_rows];
  alignas(line_bytes) T to_[P::outputs > 0 ? P::outputs : 1][short_row + 1][block_rows];
};

}  // namespace loops
FK_END
