// The two sums over a row that a stereographic map or its pullback needs, and the power
// of two that keeps them in range.
#pragma once

#include "stereographic.h"
#include "wide.h"

FK_BEGIN
namespace loops {

// ---- sums ------------------------------------------------------------------------

// |z|^2 is summed in float64: |z|^2 - 1 then keeps its digits next to the equator.
template <class T>
struct Sums {
  double square = 0;
  T dot = 0;
};

template <class E, class F>
FK_HD compute_t<E> sum_products(const E* x, const F* g, int n) {
  using T = compute_t<E>;
  using V = Vec<T>;
  constexpr int all = lanes_v<V>;
  V part[2] = {V(T(0)), V(T(0))};
  int i = 0;
  for (; i + 2 * all <= n; i += 2 * all)
    for (int k = 0; k < 2; ++k)
      part[k] =
          fma(load_lanes<V>(x + i + k * all, all), load_lanes<V>(g + i + k * all, all), part[k]);
  for_lanes<V>(n - i, [&](int j, int lanes) {
    part[0] = fma(load_lanes<V>(x + i + j, lanes), load_lanes<V>(g + i + j, lanes), part[0]);
  });
  return hsum(part[0] + part[1]);
}

// A float's accuracy is enough where no difference of squares is taken, and squares of
// bfloat16 keep more of it.
template <bool by_fours, class E>
FK_HD double square_of(const E* x, int n) {
  if constexpr (by_fours || __is_same(E, BFloat16)) {
    return sum_squares_by_fours(x, n);
  } else {
    return sum_squares(x, n);
  }
}

// Whether tiles of this operand are the memory itself.
template <class E>
bool direct(const RowView& o) {
  return o.dtype == dtype_of<E> && o.stride == 1;
}

// Calls body(first, n) for the tiles of a row: as long as sums of floats should be
// where no buffer bounds them.
template <class Body>
FK_HD void for_tiles(int64_t d, bool direct, Body body) {
  const int64_t longest = direct ? 4 * tile_size : tile_size;
  for (int64_t first = 0; first < d; first += longest)
    body(first, static_cast<int>(d - first < longest ? d - first : longest));
}

template <class E, bool pullback, bool by_fours = false>
Sums<compute_t<E>> row_sums(const StereographicArgs& a, int64_t row, compute_t<E> scale) {
  using T = compute_t<E>;
  E bx[tile_size], bg[tile_size];
  Sums<T> sums;
  const bool whole = direct<E>(a.x) && (!pullback || direct<E>(a.grad_out)) && scale == T(1);
  for_tiles(a.d, whole, [&](int64_t first, int n) {
    const auto read = [&]<class F>(const RowView& o, F* buffer) {
      return fetch<F>(source(o), row * o.row_stride + first * o.stride, o.stride, n, buffer);
    };
    const auto add = [&]<class F>(const F* x) {
      sums.square += square_of<by_fours>(x, n);
      if constexpr (pullback) sums.dot += sum_products(x, read(a.grad_out, bg), n);
    };
    if (scale == T(1)) return add(read(a.x, bx));
    T scaled[tile_size];
    const T* x = read(a.x, scaled);
    for (int i = 0; i < n; ++i) scaled[i] = x[i] * scale;
    add(static_cast<const T*>(scaled));
  });
  return sums;
}

// ---- the scale of rows out of range --------------------------------------------------

// Beyond these squares, products of rho and |x| leave the normal numbers.  NaN is in
// range: no scale helps it.
template <class T, bool inverse>
struct Range {
  static constexpr double largest = sizeof(T) == 4 ? 1e16 : 1e100;
  template <class S>
  static FK_HD auto left_by(S square) {
    if constexpr (inverse) return square < 1 / largest;
    if constexpr (!inverse) return square > largest;
  }
};

// The power of two that brings a vector of this square to a length in [1, 2).
template <class T>
T scale_of(double square) {
  const int64_t exponent = (as_int(square) >> 52) - 1023;
  return static_cast<T>(as_float((1023 - (exponent >> 1)) << 52));
}

// A row's sums with the scale it needs.
template <class E, bool inverse, bool pullback, class T = compute_t<E>>
Sums<T> scaled_sums(const StereographicArgs& a, int64_t row, T& scale) {
  const Sums<T> plain = row_sums<E, pullback>(a, row, scale = T(1));
  if (!Range<T, inverse>::left_by(plain.square)) return plain;
  double square = plain.square;
  if (sizeof(T) == 8 && !(square > 1e-290 && square < 1e290)) {
    scale = static_cast<T>(inverse ? 0x1p768 : 0x1p-768);  // brings the square into range
    square = row_sums<E, false>(a, row, scale).square;
  }
  if (!(square > 0 && square < 1e300)) return plain;  // 0 and infinity stay what they are
  scale *= scale_of<T>(square);
  return row_sums<E, pullback>(a, row, scale);
}

}  // namespace loops
FK_END
