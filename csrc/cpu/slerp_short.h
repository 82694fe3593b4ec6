// slerp of short rows with one point each: columns in vectors across the rows.
#pragma once

#include "slerp_points.h"

FK_BEGIN
namespace loops {

template <class T>
class ShortSlerp {
  using V = Vec<T>;
  using P = SlerpPoints<T>;

 public:
  static constexpr int longest = 24;

  explicit ShortSlerp(const SlerpArgs& args)
      : a_(args), d_(static_cast<int>(args.d)), points_(block_rows) {
    memset(x_, 0, sizeof(x_));  // lanes past the last row are computed with
    memset(r_, 0, sizeof(r_));
  }

  void forward(int64_t begin, int64_t end) {
    for_blocks(begin, end, [&](int64_t row, int rows) {
      read_pairs(row, rows);
      points_.make_points(rows);
      for (int k = 0; k < rows; k += lanes_v<V>) {
        const V along = points_.get(P::along_a, k), across = points_.get(P::across_a, k);
        for (int i = 0; i < d_; ++i)
          store<V>(x_[i] + k, fma(across, load<V>(r_[i] + k), along * load<V>(x_[i] + k)));
      }
      store_columns<T>(sink(a_.y), row * a_.y.row_stride, rows, d_, x_);
    });
  }

  void backward(int64_t begin, int64_t end) {
    T g[longest][block_rows];
    memset(g, 0, sizeof(g));
    for_blocks(begin, end, [&](int64_t row, int rows) {
      read_pairs(row, rows);
      read(a_.grad_y, row, rows, g);
      for (int k = 0; k < rows; k += lanes_v<V>) {
        V ga(T(0)), gr(T(0));
        for (int i = 0; i < d_; ++i) {
          const V v = load<V>(g[i] + k);
          ga = fma(v, load<V>(x_[i] + k), ga);
          gr = fma(v, load<V>(r_[i] + k), gr);
        }
        points_.set(P::ga, k, ga);
        points_.set(P::gr, k, gr);
      }
      points_.make_pullbacks(rows, d_ == 2);
      for (int k = 0; k < rows; k += lanes_v<V>) {
        const auto at = [&](auto field) { return points_.get(field, k); };
        const V weight_a = at(P::weight_a), along_a = at(P::along_a), across_a = at(P::across_a);
        const V weight_b = at(P::weight_b), along_b = at(P::along_b), across_b = at(P::across_b);
        for (int i = 0; i < d_; ++i) {
          const V v = load<V>(g[i] + k), x = load<V>(x_[i] + k), r = load<V>(r_[i] + k);
          store<V>(x_[i] + k, fma(weight_a, v, fma(along_a, x, across_a * r)));
          store<V>(r_[i] + k, fma(weight_b, v, fma(along_b, x, across_b * r)));
        }
      }
      store_columns<T>(sink(a_.grad_a), row * a_.grad_a.row_stride, rows, d_, x_);
      store_columns<T>(sink(a_.grad_b), row * a_.grad_b.row_stride, rows, d_, r_);
      memcpy(static_cast<T*>(a_.grad_t.base) + row, points_[P::grad_t],
             static_cast<size_t>(rows) * sizeof(T));
    });
  }

 private:
  template <class Body>
  FK_HD void for_blocks(int64_t begin, int64_t end, Body body) {
    for (int64_t row = begin; row < end; row += block_rows)
      body(row, static_cast<int>(end - row < block_rows ? end - row : block_rows));
  }

  void read(const PointView& o, int64_t row, int rows, Columns<T> to) {
    load_columns<T>(source(o), row * o.row_stride, o.row_stride, o.stride, rows, d_, to);
  }

  // a into x_, r into r_, the sums and fractions into points_.
  void read_pairs(int64_t row, int rows) {
    read(a_.a, row, rows, x_);
    read(a_.b, row, rows, r_);
    points_.fetch_fractions(a_, row, rows);
    bool settled = true;
    for (int k = 0; k < rows; k += lanes_v<V>) {
      SlerpSums<V> s{V(T(0)), V(T(0)), V(T(0)), V(T(0))};
      for (int i = 0; i < d_; ++i) {
        const V x = load<V>(x_[i] + k);
        s.aa = fma(x, x, s.aa);
        s.ab = fma(x, load<V>(r_[i] + k), s.ab);
      }
      const V step = slerp_step(s.aa, s.ab);
      for (int i = 0; i < d_; ++i) {
        const V x = load<V>(x_[i] + k), r = slerp_residual(step, x, load<V>(r_[i] + k));
        store<V>(r_[i] + k, r);
        s.ar = fma(x, r, s.ar);
        s.rr = fma(r, r, s.rr);
      }
      settled &= !any(slerp_degenerate(s));
      points_.set(P::aa, k, s.aa);
      points_.set(P::ab, k, s.ab);
      points_.set(P::ar, k, s.ar);
      points_.set(P::rr, k, s.rr);
      points_.set(P::antipodal, k, V(T(0)));
    }
    if (!settled)
      for (int k = 0; k < rows; ++k) settle_row(k);
  }

  void settle_row(int k) {
    SlerpPairSums<T> p{};
    p.sums = {points_[P::aa][k], points_[P::ab][k], points_[P::ar][k], points_[P::rr][k]};
    if (!slerp_degenerate(p.sums)) return;
    const auto sum_residual = [&](SlerpPairSums<T>& pair) {
      pair.sums.ar = pair.sums.rr = T(0);
      for (int i = 0; i < d_; ++i) {
        const T r = r_[i][k] = slerp_residual(pair.refine, x_[i][k], r_[i][k]);
        pair.sums.ar = fma(r, x_[i][k], pair.sums.ar);
        pair.sums.rr = fma(r, r, pair.sums.rr);
      }
    };
    settle(p, sum_residual, [&](T& value) {
      int axis = 0;
      for (int i = 1; i < d_; ++i)
        if (abs(x_[i][k]) < abs(x_[axis][k])) axis = i;
      value = x_[axis][k];
      return static_cast<int64_t>(axis);
    });
    if (p.kind != p.refined)
      for (int i = 0; i < d_; ++i) r_[i][k] = p.residual(i, T(0), T(0));
    points_.set_pair(k, p);
  }

  const SlerpArgs& a_;
  int d_;
  P points_;
  T x_[longest][block_rows], r_[longest][block_rows];
};

}  // namespace loops
FK_END
