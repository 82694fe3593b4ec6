// A row's two sums, |x|^2 and x.g, and the scale that keeps all products in range.
//
// The sums are taken in float64: |x|^2 - 1 then keeps its digits next to the equator, and in
// float32 rows nothing leaves the range, so that their scale is found without a second pass.
#pragma once

#include "../math/stereographic.h"
#include "line.h"

namespace fk {
namespace cuda {

template <class T>
struct RowSums {
  double square, dot;  // |scale x|^2, (scale x).g
  T scale;
};

// Two to the power of minus the exponent of v, within the normal numbers of T.
template <class T>
FK_DEVICE T inverse_power_of_two(double v) {
  constexpr int64_t most = sizeof(T) == 4 ? 126 : 1022;
  int64_t exponent = ((as_int(v) >> 52) & 0x7ff) - 1023;
  exponent = exponent < -most ? -most : exponent > most ? most : exponent;
  return static_cast<T>(as_float((1023 - exponent) << 52));
}

// The sums over a row of d elements; every thread of the block calls it.  Beside 1 a short z
// is nothing, but a short s has a direction.
template <bool Inverse, bool Pullback, class T, class I, class X, class G>
FK_DEVICE RowSums<T> row_sums(I d, const Team& team, bool mine, const X& x, const G& g) {
  RowSums<T> sums{0, 0, T(1)};
  if (!mine) d = 0;
  if constexpr (sizeof(T) == 8) {
    double largest = 0;
    walk_line(d, team, [&](const LinePlace<I>& p) {
      T v[line_group];
      load_line(x, p, v);
#pragma unroll
      for (int m = 0; m < line_group; ++m) largest = max(largest, abs(v[m]));
    });
    largest = team_max(largest, team);
    const bool far = largest > 1e140 || (Inverse && largest < 1e-140 && largest > 0);
    if (far && largest < 1e308) sums.scale = inverse_power_of_two<T>(largest);
  }
  double part[2] = {0, 0};
  walk_line(d, team, [&](const LinePlace<I>& p) {
    T v[line_group], w[line_group];
    load_line(x, p, v);
    if constexpr (Pullback) load_line(g, p, w);
#pragma unroll
    for (int m = 0; m < line_group; ++m) {
      const double scaled = static_cast<double>(v[m] * sums.scale);
      part[0] += scaled * scaled;
      if constexpr (Pullback) part[1] += scaled * static_cast<double>(w[m]);
    }
  });
  if constexpr (Pullback) {
    team_sum(part, team);
  } else {
    part[0] = team_sum(part[0], team);
  }
  sums.square = part[0];
  sums.dot = part[1];
  return sums;
}

// Beyond these squares, products of rho and |x| leave the normal numbers.  NaN and infinite
// rows are in range: no scale helps them.
template <bool Inverse, class T>
FK_DEVICE bool in_range(double square) {
  constexpr double limit = sizeof(T) == 4 ? 1e16 : 1e100;
  if (!(square > 0 && square < 1e300)) return true;
  return Inverse ? square >= 1 / limit : square <= limit;
}

// What the mathematics needs of the sums; the row's other entries are the caller's.
template <bool Inverse, class T>
FK_DEVICE StereographicRow<T> stereographic_row(RowSums<T> sums) {
  if (sums.scale != T(1) || !in_range<Inverse, T>(sums.square)) {
    // |scale x| in [1, 2)
    const int64_t exponent = ((as_int(sums.square) >> 52) & 0x7ff) - 1023;
    const double half = as_float((1023 + (exponent >> 1)) << 52);
    const T more = inverse_power_of_two<T>(half);
    sums.scale *= more;
    sums.square *= static_cast<double>(more) * static_cast<double>(more);
    sums.dot *= static_cast<double>(more);
  }
  StereographicRow<T> row;
  row.scale = sums.scale;
  row.square = static_cast<T>(sums.square);
  row.excess = static_cast<T>(sums.square - 1);
  row.dot = static_cast<T>(sums.dot);
  row.last = row.grad_last = row.grad_log_det = T(0);
  return row;
}

}  // namespace cuda
}  // namespace fk
