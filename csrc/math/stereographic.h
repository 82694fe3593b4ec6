// Stereographic projection between R^d and the sphere S^d in R^{d+1}.
//
//   psi(z) = [z rho, 1 - rho],   rho = 2 / (1 + |z|^2),   log det = d log rho
//
// z = 0 goes to the south pole -e_{d+1}; the north pole +e_{d+1} is the missing point.
// log det is that of the volume element of S^d (Gemici, Rezende & Mohamed, Normalizing
// Flows on Riemannian Manifolds, arXiv 1611.02304, sec. 4).
//
// The inverse of s = [h, l] of length N is h / (N - l) = h (N + l) / |h|^2: two forms of
// one function of the direction of s, so a rounded s needs no normalisation; each is
// free of cancellation on its half of the sphere.
//
// Every map here and its pullback has the form
//
//   out_i = gain g_i + slope (scale x_i)
//
// with coefficients from a row's two sums |scale x|^2 and (scale x).g.  `scale` is a
// power of two: 1 but where |x|^2 leaves the range in which all products keep their
// precision; then scale |x| is about 1.  In the inverse all of s may have another factor
// besides, `unit`, which changes nothing but the length of the gradient.
//
// Domain: every finite z; every finite s but 0 and the north pole.
#pragma once

#include "elementary.h"
#include "ranges.h"

FK_BEGIN

// A row's sums, last elements and incoming gradients.
template <class V>
struct StereographicRow {
  V scale;   // power of two
  V unit;    // power of two, in the inverse: x and last are those of (unit s)
  V square;  // |scale x|^2
  V excess;  // |x|^2 - 1, rounded once; read by the forward maps where scale = 1
  V dot;     // (scale x).g
  V last;    // (unit s)_{d+1}, in the inverse
  V grad_last;
  V grad_log_det;
  V d;
};

template <class V>
struct StereographicCoefficients {
  V gain, slope;
  V last;     // the element after the d mapped ones, where there is one
  V log_det;  // forward maps only
};

// ---- the range of the squares ----------------------------------------------------

// Whether products of rho and |x| leave the normal numbers.  Not where |x|^2 is NaN: no
// scale helps it.
template <bool Inverse, class V>
FK_HD mask_t<V> stereographic_needs_scale(V square) {
  const V largest = real<V>(Range<scalar_t<V>>::projection_square);
  if constexpr (Inverse) return square < real<V>(1.0) / largest;
  if constexpr (!Inverse) return square > largest;
}

// Whether s = [h, l] as a whole is too long or too short for the squares of its elements.
template <class V>
FK_HD mask_t<V> stereographic_needs_unit(V square, V last) {
  const V largest = real<V>(Range<scalar_t<V>>::projection_square);
  const V whole = fma(last, last, square);
  return (whole > largest) | (whole < real<V>(1.0) / largest);
}

// A power of two about 1 / largest, from the largest magnitude of a row's elements; 1 where
// that is 0, infinite or NaN.
template <class V>
FK_HD V stereographic_scale(V largest) {
  using T = scalar_t<V>;
  const V least = real<V>(is_single<V> ? 0x1p-126 : 0x1p-1022), one = real<V>(1.0);
  const V power = as_float(as_int(largest) & as_int(T(INFINITY)));  // keeps the exponent
  const V scale = one / min(max(power, least), one / least);
  return select((largest > real<V>(0.0)) & (largest < V(T(INFINITY))), scale, one);
}

// ---- R^d -> S^d ----------------------------------------------------------------

// z rho = factor (scale z); rho itself may underflow where factor does not.
template <class V>
struct StereographicPoint {
  V factor, rho, last, log_rho;
};

template <class V>
FK_HD StereographicPoint<V> stereographic_point(const StereographicRow<V>& row) {
  const V one = real<V>(1.0), two = real<V>(2.0);
  const mask_t<V> near = row.scale == one;
  const V denominator = select(near, two + row.excess, row.square);
  const V ratio = two / denominator;
  StereographicPoint<V> p;
  p.factor = ratio * row.scale;
  p.rho = p.factor * row.scale;
  p.last = select(near, row.excess / denominator, one);
  // Near |z| = 1 the logarithm goes through 0: log1p of the excess keeps its digits.
  const V half = real<V>(0.5);
  p.log_rho = -log1p(select(near, half * row.excess, half * row.square - one));
  if (!all(near)) p.log_rho += two * log(row.scale);
  return p;
}

struct StereographicMap {
  template <class V>
  static FK_HD StereographicCoefficients<V> coefficients(const StereographicRow<V>& row) {
    const StereographicPoint<V> p = stereographic_point(row);
    return {real<V>(0.0), p.factor, p.last, row.d * p.log_rho};
  }
};

// grad_z = rho g + z rho (rho g_{d+1} - (z rho).g - d g_logdet).
struct StereographicPullback {
  template <class V>
  static FK_HD StereographicCoefficients<V> coefficients(const StereographicRow<V>& row) {
    const StereographicPoint<V> p = stereographic_point(row);
    const V radial = p.rho * row.grad_last - p.factor * row.dot - row.d * row.grad_log_det;
    return {p.rho, p.factor * radial, real<V>(0.0), real<V>(0.0)};
  }
};

// ---- S^d -> R^d ----------------------------------------------------------------

// z = factor (scale h) and 1 / (N - l) in the form for l's sign.
template <class V>
struct StereographicPreimage {
  V length;  // N
  V factor;
  V inverse;  // 1 / (N - l), such that `unit` times it is at most the largest finite number
  V turn;     // h (h.g) / (N - l) = turn (scale h) ((scale h).g)
  mask_t<V> south;
};

template <class V>
FK_HD StereographicPreimage<V> stereographic_preimage(const StereographicRow<V>& row) {
  const V one = real<V>(1.0);
  const V largest = real<V>(Range<scalar_t<V>>::largest) / max(row.unit, one);
  const V unscale = one / row.scale;
  StereographicPreimage<V> p;
  p.south = row.last < real<V>(0.0);
  p.length = sqrt((row.square * unscale) * unscale + row.last * row.last);
  const V sum = p.length + abs(row.last);
  const V ratio = select(p.south, one, sum) / select(p.south, sum, row.square);
  p.factor = ratio * select(p.south, unscale, row.scale);
  p.inverse = min(select(p.south, ratio, p.factor * row.scale), largest);
  p.turn = select(p.south, p.factor * unscale, ratio);
  return p;
}

// log det = -d log(1 - l / N).
struct StereographicInverseMap {
  template <class V>
  static FK_HD StereographicCoefficients<V> coefficients(const StereographicRow<V>& row) {
    const StereographicPreimage<V> p = stereographic_preimage(row);
    const V cosine = row.last / p.length, half = real<V>(0.5);
    const mask_t<V> polar = cosine > half;
    // 1 - l / N = |h|^2 / (N (N + l)) next to the north pole.
    V log_rho = log1p(-cosine);
    if (any(polar)) {
      const V ratio = row.square / (p.length * (p.length + row.last));
      log_rho = select(polar, log(ratio) - real<V>(2.0) * log(row.scale), log_rho);
    }
    return {real<V>(0.0), p.factor, real<V>(0.0), -(row.d * log_rho)};
  }
};

// grad_h = g / (N - l) - z (z.g) / N - z d (l / N^2) g_logdet,
// grad_l = (z.g) / N + d (1 + l / N) g_logdet / N.
struct StereographicInversePullback {
  template <class V>
  static FK_HD StereographicCoefficients<V> coefficients(const StereographicRow<V>& row) {
    const StereographicPreimage<V> p = stereographic_preimage(row);
    const V per_length = real<V>(1.0) / p.length;
    const V log_det = row.d * row.grad_log_det * per_length;
    const V cosine = row.last * per_length;
    const V turn = p.inverse * (row.dot * p.turn * per_length);
    StereographicCoefficients<V> c;
    c.gain = row.unit * p.inverse;
    c.slope = row.unit * (-turn - p.factor * (log_det * cosine));
    // 1 + l / N cancels next to the south pole.
    const V unscale = real<V>(1.0) / row.scale;
    const V south_rise = (row.square * unscale) * unscale * p.inverse * per_length;
    const V rise = select(p.south, south_rise, real<V>(1.0) + cosine);
    c.last = row.unit * (p.factor * row.dot * per_length + log_det * rise);
    c.log_det = real<V>(0.0);
    return c;
  }
};

FK_END
