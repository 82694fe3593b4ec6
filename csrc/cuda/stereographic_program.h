// The stereographic maps and their pullbacks as row programs (math/stereographic.h).
#pragma once

#include "../args/stereographic.h"
#include "../engine/program.h"
#include "../math/stereographic.h"

FK_BEGIN

// The first sum, |x|^2, with the scale that keeps all products in range.
template <bool Inverse, class Rows>
FK_HD StereographicRow<typename Rows::Value> stereographic_lengths(Rows& rows, int x) {
  using V = typename Rows::Value;
  StereographicRow<V> row = {};
  row.scale = real<V>(1.0);
  if constexpr (requires { row.unit; }) row.unit = real<V>(1.0);
  SquaredLength<V> length = rows.squared_length(x);
  const mask_t<V> far = stereographic_needs_scale<Inverse>(length.square);
  if (rows.any(far)) {
    row.scale = select(far, stereographic_scale(rows.largest(x)), row.scale);
    length = rows.squared_length(x, row.scale);
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
  static constexpr int inputs = Pullback ? 2 : 1, outputs = 1;
  static constexpr bool can_be_aligned = false;  // rows of d and of d + 1 elements

  static FK_HD PointView input(const Args& a, int i) { return {i == x ? a.x : a.grad_out}; }
  static FK_HD PointView output(const Args& a, int) { return {a.out}; }
  static FK_HD int64_t elements(const Args& a) { return a.d; }

  const Args& a;
  FK_HD StereographicProgram(const Args& args, const Table&) : a(args) {}

  template <class Rows>
  FK_HD void run(Rows& rows) {
    using V = typename Rows::Value;
    StereographicRow<V> row = stereographic_lengths<Inverse>(rows, x);
    row.d = V(static_cast<T>(a.d));
    if constexpr (Inverse) row.last = rows.end_of(x);
    if constexpr (Pullback) {
      row.dot = row.scale * rows.template sum<DotProduct>(
                                    NoCoefficients<V>{},
                                    [](const auto&, const auto& in, auto& s) FK_INLINE_LAMBDA {
                                      s.dot = fma(in[x], in[grad_out], s.dot);
                                    })
                                .dot;
      if constexpr (!Inverse) row.grad_last = rows.end_of(grad_out);
      row.grad_log_det = rows.number(a.grad_log_det);
    }
    const StereographicCoefficients<V> c = Map::coefficients(row);
    rows.map(StereographicLine<V>{c.gain, c.slope, row.scale},
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
