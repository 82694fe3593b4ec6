// slerp of contiguous rows of a few vectors with one point each: a vector of rows at a time.
#pragma once

#include "slerp_points.h"

FK_BEGIN
namespace loops {

// The longest row of which a group stays near, with three lines through it or five.
constexpr int medium_slerp = 128;

template <class T>
bool is_medium_slerp(const SlerpArgs& a, bool pullback) {
  const auto direct = [](const PointView& o) { return o.dtype == dtype_of<T> && o.stride == 1; };
  return a.points == 1 && a.d >= lanes_v<Vec<T>> && direct(a.a) && direct(a.b) &&
         a.d <= medium_slerp && (!pullback || direct(a.grad_y));
}

// `Rest` handles single rows, those whose first residual has no direction of its own.
template <class T, class Rest>
class MediumSlerp {
  using V = Vec<T>;
  static constexpr int group = lanes_v<V>;

 public:
  MediumSlerp(const SlerpArgs& args, Rest& rest)
      : a_(args), rest_(rest), d_(static_cast<int>(args.d)) {
    for (int r = 0; r < group; ++r) {
      aa_[r] = rr_[r] = T(1);
      ab_[r] = ar_[r] = ga_[r] = gr_[r] = t_[r] = T(0);
    }
  }

  void forward(int64_t begin, int64_t end) {
    T along[group], across[group];
    for_groups(begin, end, [&](int64_t row, int rows) {
      const Pairs pairs = sum_pairs<false>(row, rows);
      const SlerpPoint<V> y = slerp_point(pairs.pair, pairs.t);
      store<V>(along, y.along);
      store<V>(across, y.across);
      T* const to = place(a_.y, row, collected_[0]);
      for (int r = 0; r < rows; ++r) {
        const V u(along[r]), v(across[r]);
        for_vectors(row, r, [&](int i, V x, V residual) FK_INLINE_LAMBDA {
          store<V>(to + r * d_ + i, fma(v, residual, u * x));
        });
      }
      written(a_.y, row, rows, collected_[0]);
      for_rows_of(pairs.rest, rows, [&](int r) { rest_.forward(row + r, row + r + 1); });
    });
  }

  void backward(int64_t begin, int64_t end) {
    enum { weight_a, along_a, across_a, weight_b, along_b, across_b, fields };
    T values[fields][group], grad_t[group];
    for_groups(begin, end, [&](int64_t row, int rows) {
      const Pairs pairs = sum_pairs<true>(row, rows);
      const SlerpPullback<V> c =
          slerp_pullback(pairs.pair, pairs.t, load<V>(ga_), load<V>(gr_), false);
      const V made[fields] = {c.weight_a, c.along_a, c.across_a, c.weight_b, c.along_b, c.across_b};
      for (int k = 0; k < fields; ++k) store<V>(values[k], made[k]);
      store<V>(grad_t, c.grad_t);
      T* const to_a = place(a_.grad_a, row, collected_[0]);
      T* const to_b = place(a_.grad_b, row, collected_[1]);
      for (int r = 0; r < rows; ++r) {
        const T* const g = row_of<const T>(a_.grad_y, row + r);
        V k[fields];
        for (int f = 0; f < fields; ++f) k[f] = V(values[f][r]);
        for_vectors(row, r, [&](int i, V x, V residual) FK_INLINE_LAMBDA {
          const V v = load<V>(g + i);
          const V grad_a = fma(k[weight_a], v, fma(k[along_a], x, k[across_a] * residual));
          const V grad_b = fma(k[weight_b], v, fma(k[along_b], x, k[across_b] * residual));
          store<V>(to_a + r * d_ + i, grad_a);
          store<V>(to_b + r * d_ + i, grad_b);
        });
      }
      written(a_.grad_a, row, rows, collected_[0]);
      written(a_.grad_b, row, rows, collected_[1]);
      memcpy(static_cast<T*>(a_.grad_t.base) + row, grad_t, static_cast<size_t>(rows) * sizeof(T));
      for_rows_of(pairs.rest, rows, [&](int r) { rest_.backward(row + r, row + r + 1); });
    });
  }

 private:
  struct Pairs {
    SlerpPair<V> pair;
    V t;
    mask_t<V> rest;
  };

  template <class Body>
  static FK_HD void for_groups(int64_t begin, int64_t end, Body body) {
    for (int64_t row = begin; row < end; row += group)
      body(row, static_cast<int>(end - row < group ? end - row : group));
  }
  template <class U>
  static FK_HD U* row_of(const PointView& o, int64_t row) {
    return static_cast<U*>(o.base) + row * o.row_stride;
  }

  // body(i, n, x, y) for the vectors of row r of a and b; n elements of the last count.
  template <class Body>
  FK_HD void for_parts(int64_t row, int r, Body body) const {
    const T *x = row_of<const T>(a_.a, row + r), *y = row_of<const T>(a_.b, row + r);
    for_lanes<V>(d_, [&](int i, int n) FK_INLINE_LAMBDA {
      body(i, n, load_lanes<V>(x + i, n), load_lanes<V>(y + i, n));
    });
  }
  // body(i, x, residual) for vectors that cover the row; the last overlaps the one before.
  template <class Body>
  FK_HD void for_vectors(int64_t row, int r, Body body) const {
    const T *x = row_of<const T>(a_.a, row + r), *y = row_of<const T>(a_.b, row + r);
    const V step(step_[r]);
    const auto part = [&](int i) FK_INLINE_LAMBDA {
      const V v = load<V>(x + i);
      body(i, v, slerp_residual(step, v, load<V>(y + i)));
    };
    const int last = d_ - group;
    for (int i = 0; i < last; i += group) part(i);
    part(last);
  }

  template <bool pullback>
  FK_HD Pairs sum_pairs(int64_t row, int rows) {
    for (int r = 0; r < rows; ++r) {
      V aa(T(0)), ab(T(0));
      for_parts(row, r, [&](int, int, V x, V y) FK_INLINE_LAMBDA {
        aa = fma(x, x, aa);
        ab = fma(x, y, ab);
      });
      aa_[r] = hsum(aa);
      ab_[r] = hsum(ab);
    }
    store<V>(step_, slerp_step(load<V>(aa_), load<V>(ab_)));
    for (int r = 0; r < rows; ++r) {
      const T* const g = pullback ? row_of<const T>(a_.grad_y, row + r) : nullptr;
      const V step(step_[r]);
      V ar(T(0)), rr(T(0)), ga(T(0)), gr(T(0));
      for_parts(row, r, [&](int i, int n, V x, V y) FK_INLINE_LAMBDA {
        const V residual = slerp_residual(step, x, y);
        ar = fma(x, residual, ar);
        rr = fma(residual, residual, rr);
        if constexpr (pullback) {
          const V v = load_lanes<V>(g + i, n);
          ga = fma(v, x, ga);
          gr = fma(v, residual, gr);
        }
      });
      ar_[r] = hsum(ar);
      rr_[r] = hsum(rr);
      if constexpr (pullback) {
        ga_[r] = hsum(ga);
        gr_[r] = hsum(gr);
      }
    }
    with_reader<T>(source(a_.t), [&](auto read) {
      for (int r = 0; r < rows; ++r) t_[r] = read((row + r) * a_.t.row_stride);
    });
    const SlerpSums<V> sums{load<V>(aa_), load<V>(ab_), load<V>(ar_), load<V>(rr_)};
    return {slerp_pair(sums, V(T(0)) != V(T(0))), load<V>(t_), slerp_degenerate(sums)};
  }

  // Where a group's results go: the memory itself, or a buffer for what is stored past the
  // cache. They are as contiguous as at::empty made them.
  T* place(const PointView& o, int64_t row, T* buffer) const {
    return a_.past_cache ? buffer : row_of<T>(o, row);
  }
  void written(const PointView& o, int64_t row, int rows, const T* buffer) const {
    if (a_.past_cache) stream(buffer, row_of<T>(o, row), rows * int64_t(d_));
  }

  // body(r) for the rows whose lane is set.
  template <class Body>
  static FK_HD void for_rows_of(mask_t<V> mask, int rows, Body body) {
    if (!any(mask)) return;
    T flags[group];
    store<V>(flags, select(mask, V(T(1)), V(T(0))));
    for (int r = 0; r < rows; ++r)
      if (flags[r] != T(0)) body(r);
  }

  const SlerpArgs& a_;
  Rest& rest_;
  int d_;
  // Lanes past the last row are computed with.
  T aa_[group], ab_[group], ar_[group], rr_[group], ga_[group], gr_[group], t_[group], step_[group];
  T collected_[2][group * medium_slerp];
};

}  // namespace loops
FK_END
