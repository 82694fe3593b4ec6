// slerp of pairs of rows and its pullback as row programs (math/slerp.h): a pair's angle is
// computed once, then all its points.
#pragma once

#include "../args/slerp.h"
#include "../engine/program.h"
#include "../math/slerp.h"

FK_BEGIN

template <class V>
struct SlerpLengths {
  V aa, ab;
};
template <class V>
struct SlerpResidual {
  V ar, rr;
};
template <class V>
struct SlerpGradientSums {
  V ga, gr;
};

// Where r, b's part across a, comes from: an engine that holds the rows has it in the place of
// b; others compute it from b again: b - step a, in rare rows also less refine a, and where
// nothing is across (`lost`) the unit vector of `axis`, or 0 where that is < 0.
enum class Across { held, plain, rare };

template <class V>
struct SlerpAcross {
  V step, refine, lost, axis;
};
template <class W>
FK_HD W slerp_refined(const SlerpAcross<W>& c, W a, W r, W index) {
  const W zero = real<W>(0.0), unit = select(index == c.axis, real<W>(1.0), zero);
  return select(c.lost == zero, slerp_residual(c.refine, a, r), unit);
}
template <Across A, class W>
FK_HD W slerp_across(const SlerpAcross<W>& c, W a, W b, W index) {
  if constexpr (A == Across::held) return b;
  const W r = slerp_residual(c.step, a, b);
  if constexpr (A == Across::rare) return slerp_refined(c, a, r, index);
  return r;
}

// y = along a + across r, and a gradient of the same form.
template <class V>
struct SlerpLine {
  SlerpAcross<V> r;
  V along, across;
};
template <class V>
struct SlerpGradientLine {
  SlerpAcross<V> r;
  V along_a, across_a, along_b, across_b;
};
template <class V>
struct SlerpWeights {
  V a, b;
};

// A pair's sums and what is across.
template <class V>
struct SlerpRow {
  SlerpSums<V> sums;
  SlerpAcross<V> r;
  mask_t<V> antipodal;
};

template <class T, bool Backward>
struct SlerpProgram {
  using Args = SlerpArgs;
  using Table = NoTable;
  enum { first, second, grad_y };
  static constexpr int inputs = Backward ? 3 : 2, row_inputs = 2, outputs = Backward ? 2 : 1;

  static FK_HD bool float64(const Args& a) { return a.float64; }
  static FK_HD RowInput input(const Args& a, int i) {
    if (i == grad_y) return {a.grad_y};
    return {pair(i == first ? a.a : a.b)};
  }
  static FK_HD RowOutput output(const Args& a, int i) {
    if (!Backward) return {a.y};
    return {pair(i == first ? a.grad_a : a.grad_b)};
  }
  // The same for all points.
  static FK_HD PointView pair(const RowView& v) { return {v}; }
  static FK_HD int64_t elements(const Args& a) { return a.d; }

  const Args& a;
  FK_HD SlerpProgram(const Args& args, const Table&) : a(args) {}

  template <class Rows>
  FK_HD void run(Rows& rows) {
    using V = typename Rows::Value;
    const auto lengths = rows.template sum<SlerpLengths, 2>(
        NoCoefficients<V>{}, [](const auto&, const auto& in, auto& s) FK_INLINE_LAMBDA {
          s.aa = fma(in[first], in[first], s.aa);
          s.ab = fma(in[first], in[second], s.ab);
        });
    SlerpRow<V> row = {};
    row.sums.aa = lengths.aa;
    row.sums.ab = lengths.ab;
    row.r.step = slerp_step(lengths.aa, lengths.ab);
    row.antipodal = real<V>(1.0) < real<V>(0.0);
    constexpr Across first_r = Rows::holds ? Across::held : Across::plain;
    if constexpr (Rows::holds)
      rows.replace(second, row.r, [](const auto& c, const auto& in, auto) FK_INLINE_LAMBDA {
        return slerp_residual(c.step, in[first], in[second]);
      });
    const auto residual = residual_sums<first_r>(rows, row.r);
    row.sums.ar = residual.ar;
    row.sums.rr = residual.rr;
    const mask_t<V> along = slerp_degenerate(row.sums);
    const bool rare = rows.any(along);
    if (rare) settle(rows, a.d, along, row);
    if constexpr (Rows::holds) {
      finish<Across::held>(rows, row);
    } else if (rare) {
      finish<Across::rare>(rows, row);
    } else {
      finish<Across::plain>(rows, row);
    }
  }

 private:
  // a.r and r.r.
  template <Across A, class Rows, class V>
  static FK_HD SlerpResidual<V> residual_sums(Rows& rows, const SlerpAcross<V>& across) {
    return rows.template sum_at<SlerpResidual, 2>(
        across, [](const auto& c, const auto& in, auto& s, auto index) FK_INLINE_LAMBDA {
          const auto r = slerp_across<A>(c, in[first], in[second], index);
          s.ar = fma(in[first], r, s.ar);
          s.rr = fma(r, r, s.rr);
        });
  }

  // The first residual lies along a: a second one takes its place, or an axis.
  template <class Rows, class V>
  static FK_HD void settle(Rows& rows, int64_t d, mask_t<V> along, SlerpRow<V>& row) {
    const V zero = real<V>(0.0), one = real<V>(1.0);
    // On a line nothing is across, whatever the rounding left, and there is no axis across a.
    const bool line = d == 1;
    mask_t<V> lost = along & (slerp_parallel(row.sums) | line);
    row.r.refine = select(along & !lost, row.sums.ar / row.sums.aa, zero);
    if constexpr (Rows::holds) refine(rows, row.r);
    const auto residual = residual_sums<Rows::holds ? Across::held : Across::rare>(rows, row.r);
    SlerpSums<V> refined = row.sums;
    refined.ar = residual.ar;
    refined.rr = residual.rr;
    lost = along & (lost | slerp_parallel(refined) | slerp_degenerate(refined));
    V axis;
    const V value = rows.smallest(first, axis);
    row.antipodal = lost & (row.sums.ab < zero);
    row.r.lost = select(lost, one, zero);
    const mask_t<V> turned = row.antipodal & !line;
    row.r.axis = select(turned, axis, -one);
    if constexpr (Rows::holds) {
      row.r.refine = zero;
      refine(rows, row.r);
    }
    const V ar = select(lost, select(turned, value, zero), refined.ar);
    const V rr = select(lost, select(turned, one, zero), refined.rr);
    row.sums.ar = select(along, ar, row.sums.ar);
    row.sums.rr = select(along, rr, row.sums.rr);
  }

  template <class Rows, class V>
  static FK_HD void refine(Rows& rows, const SlerpAcross<V>& r) {
    rows.replace(second, r, [](const auto& c, const auto& in, auto index) FK_INLINE_LAMBDA {
      return slerp_refined(c, in[first], in[second], index);
    });
  }

  template <class Rows>
  FK_HD typename Rows::Value fraction(Rows& rows, int64_t j) const {
    rows.point(j);
    if (a.t.base == nullptr) return typename Rows::Value(static_cast<T>(a.number));
    return rows.number(a.t);
  }

  template <Across A, class Rows, class V>
  FK_HD void finish(Rows& rows, const SlerpRow<V>& row) const {
    const SlerpPair<V> pair = slerp_pair(row.sums, row.antipodal);
    if constexpr (Backward) {
      gradients<A>(rows, row, pair);
    } else {
      for (int64_t j = 0; j < a.points; ++j) {
        const SlerpPoint<V> y = slerp_point(pair, fraction(rows, j));
        rows.map_at(SlerpLine<V>{row.r, y.along, y.across},
                    [](const auto& c, const auto& in, auto& out, auto index) FK_INLINE_LAMBDA {
                      const auto r = slerp_across<A>(c.r, in[first], in[second], index);
                      out[0] = fma(c.across, r, c.along * in[first]);
                    });
      }
    }
  }

  // g_a = sum_j weight_a(j) G_j + along_a a + across_a r, and g_b likewise.
  template <Across A, class Rows, class V>
  FK_HD void gradients(Rows& rows, const SlerpRow<V>& row, const SlerpPair<V>& pair) const {
    const bool circle = a.d == 2;
    SlerpGradientLine<V> total = {};
    total.r = row.r;
    SlerpPullback<V> last = {};
    for (int64_t j = 0; j < a.points; ++j) {
      const V t = fraction(rows, j);
      const auto sums = rows.template sum_at<SlerpGradientSums>(
          row.r, [](const auto& c, const auto& in, auto& s, auto index) FK_INLINE_LAMBDA {
            const auto r = slerp_across<A>(c, in[first], in[second], index);
            s.ga = fma(in[grad_y], in[first], s.ga);
            s.gr = fma(in[grad_y], r, s.gr);
          });
      last = slerp_pullback(pair, t, sums.ga, sums.gr, circle);
      total.along_a += last.along_a;
      total.across_a += last.across_a;
      total.along_b += last.along_b;
      total.across_b += last.across_b;
      rows.put(a.grad_t, last.grad_t);
    }
    // The weights depend on the fraction alone; with one point they are at hand.
    const auto weights = [&](int64_t j) FK_INLINE_LAMBDA {
      if (a.points == 1) return SlerpWeights<V>{last.weight_a, last.weight_b};
      const V t = fraction(rows, j), zero = real<V>(0.0);
      const SlerpPullback<V> p = slerp_pullback(pair, t, zero, zero, circle);
      return SlerpWeights<V>{p.weight_a, p.weight_b};
    };
    rows.map_points(
        total,
        [](const auto& c, const auto& in, auto& out, auto index) FK_INLINE_LAMBDA {
          const auto r = slerp_across<A>(c.r, in[first], in[second], index), x = in[first];
          out[0] = fma(c.along_a, x, c.across_a * r);
          out[1] = fma(c.along_b, x, c.across_b * r);
        },
        a.points, weights,
        [](const auto& w, const auto& in, auto& out) FK_INLINE_LAMBDA {
          out[0] = fma(w.a, in[grad_y], out[0]);
          out[1] = fma(w.b, in[grad_y], out[1]);
        });
  }
};

FK_END
