// The stereographic maps and their pullbacks as row programs (math/stereographic.h).
#pragma once

#include "../args/stereographic.h"
#include "../engine/program.h"
#include "../math/stereographic.h"

FK_BEGIN

// The first sum, |x|^2, and what keeps all products in range.  In the inverse also the last
// element, which lies next to the others.
template <bool Inverse, bool Float64 = !Inverse, class Rows>
FK_HD StereographicRow<typename Rows::Value> stereographic_lengths(Rows& rows, int x) {
  using V = typename Rows::Value;
  const V one = real<V>(1.0);
  StereographicRow<V> row = {};
  row.scale = row.unit = one;
  // |x|^2 - 1 must keep its digits next to the equator; the inverse has no such difference.
  SquaredLength<V> length = rows.template squared_length<Float64>(x);
  mask_t<V> far = stereographic_needs_scale<Inverse>(length.square);
  if constexpr (Inverse) {
    row.last = rows.end_of(x);
    far = far | stereographic_needs_unit(length.square, row.last);
  }
  if (rows.any(far)) {
    const V largest = rows.largest(x), scale = stereographic_scale(largest);
    V total = scale;  // of x, unit included
    if constexpr (Inverse) {
      const V whole = stereographic_scale(max(largest, abs(row.last)));
      row.unit = select(stereographic_needs_unit(length.square, row.last), whole, one);
      row.last = row.unit * row.last;
      const V height = largest * row.unit;
      total = select(stereographic_needs_scale<true>(height * height), scale, row.unit);
    }
    total = select(far, total, one);
    row.scale = total / row.unit;
    // Rows in range keep their sums: they do not depend on the rows beside them.
    const SquaredLength<V> scaled = rows.template squared_length<false>(x, total);
    length.square = select(far, scaled.square, length.square);
    length.excess = select(far, scaled.excess, length.excess);
  }
  row.square = length.square;
  row.excess = length.excess;
  return row;
}

// out_i = gain g_i + slope (scale x_i).
template <class V>
struct StereographicLine {
  V gain, slope, scale;
};
template <class V>
struct DotProduct {
  V dot;
};

// `Map` gives the coefficients; x and out, or grad_out, have an element more than is mapped.
template <class T, class Map, bool Inverse, bool Pullback>
struct StereographicProgram {
  using Args = StereographicArgs;
  using Table = NoTable;
  enum { x, grad_out };
  static constexpr int inputs = Pullback ? 2 : 1, outputs = 1, compute_outputs = 0;
  static constexpr bool can_be_aligned = false;  // rows of d and of d + 1 elements

  static FK_HD bool float64(const Args& a) { return a.float64; }
  static FK_HD RowInput input(const Args& a, int i) {
    if (i == x) return {{a.x}, Inverse};
    return {{a.grad_out}, !Inverse};
  }
  static FK_HD RowOutput output(const Args& a, int) {
    return {{a.out}, Inverse == Pullback, a.non_temporal};
  }
  static FK_HD int64_t elements(const Args& a) { return a.d; }

  const Args& a;
  FK_HD StereographicProgram(const Args& args, const Table&) : a(args) {}

  template <class Rows>
  FK_HD void run(Rows& rows) {
    using V = typename Rows::Value;
    StereographicRow<V> row = stereographic_lengths<Inverse>(rows, x);
    row.d = V(static_cast<T>(a.d));
    const V scale = row.unit * row.scale;
    if constexpr (Pullback) {
      const auto sums = rows.template sum<DotProduct>(
          NoCoefficients<V>{}, [](const auto&, const auto& in, auto& s)
                                   FK_INLINE_LAMBDA { s.dot = fma(in[x], in[grad_out], s.dot); });
      row.dot = scale * sums.dot;
      if constexpr (!Inverse) row.grad_last = rows.end_of(grad_out);
      row.grad_log_det = rows.number(a.grad_log_det);
    }
    const StereographicCoefficients<V> c = Map::coefficients(row);
    rows.map(StereographicLine<V>{c.gain, c.slope, scale},
             [](const auto& line, const auto& in, auto& out) FK_INLINE_LAMBDA {
               out[0] = line.slope * (line.scale * in[x]);
               if constexpr (Pullback) out[0] = fma(line.gain, in[grad_out], out[0]);
             });
    if constexpr (Inverse == Pullback) rows.set_end(0, c.last);
    if constexpr (!Pullback) rows.put(a.log_det, c.log_det);
  }
};

template <class T>
using StereographicForward = StereographicProgram<T, StereographicMap, false, false>;
template <class T>
using StereographicBackward = StereographicProgram<T, StereographicPullback, false, true>;
template <class T>
using StereographicInverseForward = StereographicProgram<T, StereographicInverseMap, true, false>;
template <class T>
using StereographicInverseBackward =
    StereographicProgram<T, StereographicInversePullback, true, true>;

FK_END
