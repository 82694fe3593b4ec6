// x = R(loc) [cosine, sine v], v uniform on the sphere across the axis, and its gradients.
//
// R is the isometry that takes e_1 to loc: -sign(loc_1) times the reflection along
// loc + sign(loc_1) e_1, which is never shorter than sqrt(2), so that nothing happens near the
// axes.  R is symmetric.  With loc = [m, l], c = sign(m) / (1 + |m|) and y = [y_0, y_r]:
//   R y = [m y_0 + l.y_r,  l (y_0 + c l.y_r) - sign(m) y_r]
//
// With normal numbers g, v = g / |g| and the gradient [h_0, h] of x, t = sine v:
//   cosine: m h_0 + l.h     sine: v.(l (h_0 + c l.h) - sign(m) h)
//   m: h_0 cosine - (l.h) (l.t) / (1 + |m|)^2
//   l: h_0 t + h (cosine + c l.t) + c (l.h) t
#pragma once

#include "../args/tangent_normal.h"
#include "philox.h"

FK_BEGIN

// ---- the order of the normal numbers ---------------------------------------------------------

// Counter j of a row gives the normal numbers 2 j', 2 j' + 1, 16 + 2 j' and 17 + 2 j' of run j / 8
// of 32 numbers, j' = j % 8: what is contiguous in a vector is so in memory.
constexpr int run_counters = 8, run_numbers = 32;

template <class I>
FK_HD I normal_place(I counter) {
  return counter / run_counters * run_numbers + counter % run_counters * 2;
}
// Counters of n numbers: the last run's first half, or all of it.
template <class I>
FK_HD I normal_counters(I n) {
  const I rest = n % run_numbers;
  return n / run_numbers * run_counters +
         (rest < run_numbers / 2 ? (rest + 1) / 2 : I(run_counters));
}

// ---- a row -------------------------------------------------------------------------------------

// m, sign(m) and c.
template <class T>
struct TangentAxis {
  T first, sign, c;
  FK_HD explicit TangentAxis(T m)
      : first(m), sign(m < T(0) ? T(-1) : T(1)), c(sign / (T(1) + abs(m))) {}
};

// x = [head, of_loc l + of_normal g].
template <class T>
struct TangentPoint {
  T head, of_loc, of_normal;
};
template <class T>
FK_HD TangentPoint<T> tangent_point(const TangentAxis<T>& axis, T cosine, T sine, T gg, T gl) {
  const T length = sine / sqrt(gg), along = gl * length;
  return {fma(axis.first, cosine, along), cosine + axis.c * along, -axis.sign * length};
}

// The gradient of loc is [head, of_normal g + of_grad h].
template <class T>
struct TangentGradients {
  T head, of_normal, of_grad;
  T cosine, sine;
};
template <class T>
struct TangentSums {
  T gg, gl, gh, lh;  // g.g, g.l, g.h, l.h
};
template <class T>
FK_HD TangentGradients<T> tangent_gradients(const TangentAxis<T>& axis, T cosine, T sine, T h_0,
                                            const TangentSums<T>& s) {
  const T inverse = T(1) / sqrt(s.gg), length = sine * inverse, along = s.gl * length;
  const T of_loc = h_0 + axis.c * s.lh;
  return {h_0 * cosine - s.lh * along * axis.c * axis.c, length * of_loc, cosine + axis.c * along,
          fma(axis.first, h_0, s.lh), inverse * (s.gl * of_loc - axis.sign * s.gh)};
}

FK_END
