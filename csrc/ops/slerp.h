// Spherical linear interpolation and its pullback as row programs (math/slerp.h).
#pragma once

#include "../args/slerp.h"
#include "../engine/program.h"
#include "../math/slerp.h"

FK_BEGIN

template <class V>
struct SlerpProducts {
  V aa, ab, bb;
};
template <class V>
struct SlerpProductsWithGradient {
  V aa, ab, bb, ga, gb;
};
template <class V>
struct SlerpResidualSums {
  V ar, rr;
};
template <class V>
struct SlerpResidualSumsWithGradient {
  V ar, rr, gr;
};
template <class V>
struct SlerpGradientSums {
  V ga, gr;
};
// r = b - step a, and again with `refine`.
template <class V>
struct SlerpStep {
  V step;
};
template <class V>
struct SlerpSteps {
  V step, refine;
};
// keep r, or the unit vector of an axis.
template <class V>
struct SlerpAxis {
  V keep, axis;
};
// y = along a + across r.
template <class V>
struct SlerpLine {
  V step, along, across;
};
template <class V>
struct SlerpWeights {
  V a, b;
};
// grad_a = weight_a G + along_a a + across_a r, and grad_b likewise.
template <class V>
struct SlerpGradientLine {
  V step, weight_a, along_a, across_a, weight_b, along_b, across_b;
};

template <class T, bool Backward>
struct SlerpProgram {
  using Args = SlerpArgs;
  using Table = NoTable;
  enum Input { a, b, grad_y };
  static constexpr int inputs = Backward ? 3 : 2, outputs = Backward ? 2 : 1;
  static constexpr int compute_outputs = 0;
  static constexpr bool in_compute_type = true;  // b may be replaced, gradients are added up

  static bool float64(const Args& args) { return args.float64; }
  static RowInput input(const Args& args, int i) {
    if (i == grad_y) return {args.grad_y};
    return {of_pair(i == a ? args.a : args.b)};
  }
  static RowOutput output(const Args& args, int k) {
    if (!Backward) return {args.y, false, args.non_temporal};
    return {of_pair(k == a ? args.grad_a : args.grad_b), false, args.non_temporal};
  }
  static int64_t elements(const Args& args) { return args.d; }
  static int64_t points(const Args& args) { return args.points; }

  // The same for all points.
  static PointView of_pair(PointView o) {
    o.point_stride = 0;
    return o;
  }

  const Args& args;
  FK_HD SlerpProgram(const Args& args_, const Table&) : args(args_) {}

  // What is known of the pairs in hand.  G.a and G.r are those of the only point.
  template <class V>
  struct Pairs {
    SlerpSums<V> sums;
    V step, ga, gr;
    mask_t<V> antipodal;
  };

  template <class Rows>
  FK_HD void run(Rows& rows) {
    using V = typename Rows::Value;
    const bool only = args.points == 1;
    const Pairs<V> pairs = sum_pairs<V>(rows, only);
    const SlerpPair<V> pair = slerp_pair(pairs.sums, pairs.antipodal);
    if constexpr (!Backward) {
      for (int64_t j = 0; j < args.points; ++j) {
        rows.point(j);
        const SlerpPoint<V> y = slerp_point(pair, rows.number(args.t));
        rows.map(SlerpLine<V>{pairs.step, y.along, y.across},
                 [](const auto& c, const auto& in, auto& out) FK_INLINE_LAMBDA {
                   const auto r = slerp_residual(c.step, in[a], in[b]);
                   out[0] = fma(c.across, r, c.along * in[a]);
                 });
      }
    } else {
      const auto line = [](const auto& c, const auto& in, auto& out) FK_INLINE_LAMBDA {
        const auto r = slerp_residual(c.step, in[a], in[b]), g = in[grad_y];
        out[a] = fma(c.weight_a, g, fma(c.along_a, in[a], c.across_a * r));
        out[b] = fma(c.weight_b, g, fma(c.along_b, in[a], c.across_b * r));
      };
      if (only) {
        const SlerpPullback<V> p = pull_back(rows, pair, pairs.ga, pairs.gr);
        rows.map(SlerpGradientLine<V>{pairs.step, p.weight_a, p.along_a, p.across_a, p.weight_b,
                                      p.along_b, p.across_b},
                 line);
      } else {
        pull_back_points(rows, pair, pairs.step);
      }
    }
  }

 private:
  template <class Rows, class V>
  FK_HD SlerpPullback<V> pull_back(Rows& rows, const SlerpPair<V>& pair, V ga, V gr) {
    const SlerpPullback<V> p = slerp_pullback(pair, rows.number(args.t), ga, gr, args.d == 2);
    rows.put(args.grad_t, p.grad_t);
    return p;
  }

  // The gradients of G alone point by point, then those along a and r for all points together.
  template <class Rows, class V>
  FK_HD void pull_back_points(Rows& rows, const SlerpPair<V>& pair, V step) {
    const V zero = real<V>(0.0);
    V along_a = zero, across_a = zero, along_b = zero, across_b = zero;
    const auto weigh = [](const auto& w, const auto& in, auto& out) FK_INLINE_LAMBDA {
      out[a] = w.a * in[grad_y];
      out[b] = w.b * in[grad_y];
    };
    for (int64_t j = 0; j < args.points; ++j) {
      rows.point(j);
      const auto sums = rows.template sum<SlerpGradientSums>(
          SlerpStep<V>{step}, [](const auto& c, const auto& in, auto& s) FK_INLINE_LAMBDA {
            s.ga = fma(in[grad_y], in[a], s.ga);
            s.gr = fma(in[grad_y], slerp_residual(c.step, in[a], in[b]), s.gr);
          });
      const SlerpPullback<V> p = pull_back(rows, pair, sums.ga, sums.gr);
      along_a += p.along_a;
      across_a += p.across_a;
      along_b += p.along_b;
      across_b += p.across_b;
      rows.add(j > 0, SlerpWeights<V>{p.weight_a, p.weight_b}, weigh);
    }
    rows.add(true, SlerpGradientLine<V>{step, zero, along_a, across_a, zero, along_b, across_b},
             [](const auto& c, const auto& in, auto& out) FK_INLINE_LAMBDA {
               const auto r = slerp_residual(c.step, in[a], in[b]);
               out[a] = fma(c.along_a, in[a], c.across_a * r);
               out[b] = fma(c.along_b, in[a], c.across_b * r);
             });
  }

  // One pass over the vectors is enough at oblique angles.
  template <class V, class Rows>
  FK_HD Pairs<V> sum_pairs(Rows& rows, bool only) {
    const V zero = real<V>(0.0);
    Pairs<V> p{};
    V bb, gb = zero;
    p.ga = zero;
    p.antipodal = zero != zero;
    if (Backward && only) {
      const auto s = rows.template sum<SlerpProductsWithGradient>(
          NoCoefficients<V>{}, [](const auto&, const auto& in, auto& s) FK_INLINE_LAMBDA {
            add_products(in, s);
            s.ga = fma(in[inputs - 1], in[a], s.ga);
            s.gb = fma(in[inputs - 1], in[b], s.gb);
          });
      p.sums.aa = s.aa;
      p.sums.ab = s.ab;
      bb = s.bb;
      p.ga = s.ga;
      gb = s.gb;
    } else {
      const auto s = rows.template sum<SlerpProducts, 2>(
          NoCoefficients<V>{},
          [](const auto&, const auto& in, auto& s) FK_INLINE_LAMBDA { add_products(in, s); });
      p.sums.aa = s.aa;
      p.sums.ab = s.ab;
      bb = s.bb;
    }
    p.step = slerp_step(p.sums.aa, p.sums.ab);
    p.sums.ar = zero;
    p.sums.rr = bb - p.step * p.sums.ab;
    p.gr = gb - p.step * p.ga;
    const mask_t<V> slanted = !slerp_oblique(bb, p.sums.rr);
    if (!rows.any(slanted)) return p;

    if (Backward && only) {
      const auto s = sum_residual_with_gradient(rows, p.step);
      p.sums.ar = select(slanted, s.ar, p.sums.ar);
      p.sums.rr = select(slanted, s.rr, p.sums.rr);
      p.gr = select(slanted, s.gr, p.gr);
    } else {
      const auto s = sum_residual(rows, p.step);
      p.sums.ar = select(slanted, s.ar, p.sums.ar);
      p.sums.rr = select(slanted, s.rr, p.sums.rr);
    }
    const mask_t<V> degenerate = slanted & slerp_degenerate(p.sums);
    if (!rows.any(degenerate)) return p;
    settle(rows, p, degenerate);
    if (Backward && only)
      p.gr = select(degenerate, sum_residual_with_gradient(rows, p.step).gr, p.gr);
    return p;
  }

  template <class In, class S>
  static FK_HD void add_products(const In& in, S& s) {
    s.aa = fma(in[a], in[a], s.aa);
    s.ab = fma(in[a], in[b], s.ab);
    s.bb = fma(in[b], in[b], s.bb);
  }
  template <class Rows, class V>
  static FK_HD SlerpResidualSums<V> sum_residual(Rows& rows, V step) {
    return rows.template sum<SlerpResidualSums, 2>(
        SlerpStep<V>{step}, [](const auto& c, const auto& in, auto& s) FK_INLINE_LAMBDA {
          const auto r = slerp_residual(c.step, in[a], in[b]);
          s.ar = fma(in[a], r, s.ar);
          s.rr = fma(r, r, s.rr);
        });
  }

  template <class Rows, class V>
  static FK_HD SlerpResidualSumsWithGradient<V> sum_residual_with_gradient(Rows& rows, V step) {
    return rows.template sum<SlerpResidualSumsWithGradient>(
        SlerpStep<V>{step}, [](const auto& c, const auto& in, auto& s) FK_INLINE_LAMBDA {
          const auto r = slerp_residual(c.step, in[a], in[b]);
          s.ar = fma(in[a], r, s.ar);
          s.rr = fma(r, r, s.rr);
          s.gr = fma(in[inputs - 1], r, s.gr);
        });
  }

  // Decides on pairs whose first residual lies along a: r takes the place of b.
  template <class Rows, class V>
  FK_HD void settle(Rows& rows, Pairs<V>& p, mask_t<V> degenerate) {
    const V zero = real<V>(0.0), one = real<V>(1.0);
    const mask_t<V> again = degenerate & !slerp_parallel(p.sums);
    const V refine = select(again, p.sums.ar / p.sums.aa, zero);
    rows.replace(b, SlerpSteps<V>{p.step, refine},
                 [](const auto& c, const auto& in, const auto&) FK_INLINE_LAMBDA {
                   return slerp_residual(c.refine, in[a], slerp_residual(c.step, in[a], in[b]));
                 });
    p.step = zero;
    const SlerpResidualSums<V> s = sum_residual(rows, zero);
    p.sums.ar = select(again, s.ar, p.sums.ar);
    p.sums.rr = select(again, s.rr, p.sums.rr);
    const mask_t<V> lost =
        degenerate & ((!again) | slerp_degenerate(p.sums) | slerp_parallel(p.sums));
    if (!rows.any(lost)) return;
    V axis, value = rows.smallest(a, axis);
    p.antipodal = lost & (p.sums.ab < zero);
    // On a line there is no axis across a.
    const mask_t<V> turned = args.d > 1 ? p.antipodal : zero != zero;
    rows.replace(b, SlerpAxis<V>{select(lost, zero, one), select(turned, axis, -one)},
                 [](const auto& c, const auto& in, const auto& i) FK_INLINE_LAMBDA {
                   using W = decltype(c.keep * in[b]);
                   return select(i == c.axis, real<W>(1.0),
                                 select(c.keep == real<W>(0.0), c.keep, in[b]));
                 });
    p.sums.ar = select(turned, value, select(lost, zero, p.sums.ar));
    p.sums.rr = select(turned, one, select(lost, zero, p.sums.rr));
  }
};

template <class T>
using SlerpForward = SlerpProgram<T, false>;
template <class T>
using SlerpBackward = SlerpProgram<T, true>;

FK_END
