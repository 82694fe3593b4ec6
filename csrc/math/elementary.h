// Elementary functions for scalars and vectors, without branches or lookup tables.
//
// Accuracy, over the whole range (measured by tests/ops/test_elementary.py):
//   2 ulp in float32 and float64.  sincos: |x| <= 8192 in float32, 1e5 in float64.
// Limits, signed zeros, infinities and NaN are those of C99 Annex F.
//
// Method: argument reduction to a small interval, a polynomial from
// csrc/math/tables/polynomials.py there, reconstruction.  Cody & Waite, Software
// Manual for the Elementary Functions (1980); the reconstruction of log follows
// the error analysis of fdlibm's e_log.c (Sun Microsystems, 1993).
#pragma once

#include "polynomials.h"
#include "ranges.h"

// On a GPU, float32 uses the functions of the CUDA toolkit, which use the special function units
// (CUDA C++ Programming Guide, Mathematical Functions: at most 2 ulp), except for functions
// whose slow paths need local memory or whose error is larger.
#if defined(__CUDA_ARCH__)
#define FK_TOOLKIT(call) \
  if constexpr (is_single<V>) return call
#else
#define FK_TOOLKIT(call)
#endif

FK_BEGIN

// a / b to 2 ulp for |b| within [2^-126, 2^126]: on a GPU much cheaper than the exact quotient.
template <class V>
FK_HD V ratio(V a, V b) {
  FK_TOOLKIT(__fdividef(a, b));
  return a / b;
}

// p * 2^n for integral n, by two factors, so that a subnormal result is rounded once.
template <class V>
FK_HD V scale_by_power(V p, V n) {
#if FK_SIMD && defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) {
    if constexpr (is_single<V>) {
      return V((typename V::Raw)_mm512_scalef_ps((__m512)p.raw, (__m512)n.raw));
    } else {
      return V((typename V::Raw)_mm512_scalef_pd((__m512d)p.raw, (__m512d)n.raw));
    }
  }
#endif
  using T = scalar_t<V>;
  // Adding 1.5 * 2^(mantissa bits) leaves the integer in the low bits.
  constexpr T magic = T(is_single<V> ? 12582912.0 : 6755399441055744.0);
  constexpr int mantissa = is_single<V> ? 23 : 52;
  const V half = (n * real<V>(0.5) + V(magic)) - V(magic);
  const auto one = as_int(T(1));
  const auto first = (as_int(half + V(magic)) - as_int(V(magic)));
  const auto second = (as_int((n - half) + V(magic)) - as_int(V(magic)));
  return p * as_float((first << mantissa) + one) * as_float((second << mantissa) + one);
}

// 2^n for integral n where it is a normal number.
template <class V>
FK_HD V power_of_two(V n) {
#if FK_SIMD && defined(__AVX512F__)
  if constexpr (sizeof(V) == 64) return scale_by_power(real<V>(1.0), n);
#endif
  using T = scalar_t<V>;
  constexpr int mantissa = is_single<V> ? 23 : 52;
  const V shifted = n + real<V>(is_single<V> ? 12582912.0 : 6755399441055744.0);
  return as_float((as_int(shifted) << mantissa) + as_int(T(1)));
}

// x = n log 2 + r with |r| <= log(2) / 2; returns e^r - 1 and sets n.
template <class V>
FK_HD V expm1_reduced(V x, V& n) {
  using T = scalar_t<V>;
  constexpr T magic = T(is_single<V> ? 12582912.0 : 6755399441055744.0);
  n = (x * real<V>(1.4426950408889634074) + V(magic)) - V(magic);
  V r;
  if constexpr (is_single<V>) {
    r = fma(n, real<V>(-0.693359375), x);
    r = fma(n, real<V>(2.12194440e-4), r);
  } else {
    r = fma(n, real<V>(-6.93147180369123816490e-01), x);
    r = fma(n, real<V>(-1.90821492927058770002e-10), r);
  }
  return fma(r * r, exp_polynomial(r), r);
}

// exp: 0 below, infinity above; subnormal results are rounded once.
template <class V>
FK_HD V exp(V x) {
  FK_TOOLKIT(::expf(x));
  x = clamp(x, real<V>(Range<scalar_t<V>>::exp_lowest), real<V>(Range<scalar_t<V>>::exp_highest));
  V n;
  const V p = expm1_reduced(x, n);
  return scale_by_power(real<V>(1.0) + p, n);
}

// expm1: e^x - 1 without cancellation near 0.
template <class V>
FK_HD V expm1(V x) {
  FK_TOOLKIT(::expm1f(x));
  const V y =
      clamp(x, real<V>(Range<scalar_t<V>>::expm1_lowest), real<V>(Range<scalar_t<V>>::exp_highest));
  V n;
  const V p = expm1_reduced(y, n);
  const V result = scale_by_power(p + (real<V>(1.0) - scale_by_power(real<V>(1.0), -n)), n);
  return select(x == real<V>(0.0), x, result);  // keeps -0
}

// Splits positive normal x = 2^e (1 + f), 1 + f in [sqrt(1/2), sqrt(2)).
template <class V>
FK_HD V split_exponent(V x, V& e) {
  using T = scalar_t<V>;
  constexpr int mantissa = is_single<V> ? 23 : 52;
  const auto offset = as_int(T(is_single<V> ? 0.70710678118654752 : 0.70710678118654752440));
  const auto shifted = as_int(x) - offset;
  e = to_float(shifted >> mantissa);
  return as_float(as_int(x) - ((shifted >> mantissa) << mantissa)) - real<V>(1.0);
}

// log(1 + f) + e log 2 for f in the interval of split_exponent.
template <class V>
FK_HD V log_reduced(V f, V e) {
  const V s = f / (real<V>(2.0) + f);
  const V z = s * s;
  const V r = z * log_polynomial(z);
  // log(1 + f) = f - f^2/2 + s (f^2/2 + r): the large terms carry no rounding.
  const V half_square = real<V>(0.5) * f * f;
  const V high = real<V>(is_single<V> ? 0.693359375 : 6.93147180369123816490e-01);
  const V low = real<V>(is_single<V> ? -2.12194440e-4 : 1.90821492927058770002e-10);
  return fma(e, high, f - (half_square - fma(e, low, s * (half_square + r))));
}

template <class V>
FK_HD V log(V x) {
  FK_TOOLKIT(::logf(x));
  using T = scalar_t<V>;
  const V tiny = real<V>(Range<T>::smallest_normal);
  const V lift = real<V>(is_single<V> ? 16777216.0 : 18014398509481984.0);
  const mask_t<V> subnormal = x < tiny;
  V e;
  const V f = split_exponent(select(subnormal, x * lift, x), e);
  e = select(subnormal, e - real<V>(is_single<V> ? 24.0 : 54.0), e);
  V result = log_reduced(f, e);
  result = select(x == V(T(INFINITY)), x, result);
  result = select(x == real<V>(0.0), V(T(-INFINITY)), result);
  return select(x >= real<V>(0.0), result, V(T(NAN)));
}

// log1p: log(u) + (x - (u - 1)) / u with u = fl(1 + x); the second term corrects the rounding of u.
template <class V>
FK_HD V log1p(V x) {
  FK_TOOLKIT(::log1pf(x));
  using T = scalar_t<V>;
  const V one = real<V>(1.0);
  const V u = one + x;
  const V lost = select(x > one, one - (u - x), x - (u - one));
  V e;
  const V f = split_exponent(u, e);
  V result = log_reduced(f, e) + lost / u;
  const V smallest = real<V>(Range<scalar_t<V>>::log1p_smallest);
  result = select(abs(x) < smallest, x, result);  // keeps -0 and subnormals
  result = select(x == V(T(INFINITY)), x, result);
  result = select(x == -one, V(T(-INFINITY)), result);
  return select(x >= -one, result, V(T(NAN)));
}

// log1p for 0 <= x <= 1, which needs no reduction.
template <class V>
FK_HD V log1p_below_one(V x) {
  FK_TOOLKIT(::log1pf(x));
  const V s = x / (real<V>(2.0) + x);
  const V z = s * s;
  // As in log_reduced.
  const V half_square = real<V>(0.5) * x * x;
  return x - (half_square - s * (half_square + z * log1p_polynomial(z)));
}

// tanh: (1 - e^-2|x|) / (1 + e^-2|x|), both from e^r - 1, so that the numerator does not cancel
// near 0 and the denominator is rounded once.
template <class V>
FK_HD V tanh(V x) {
  FK_TOOLKIT(::tanhf(x));
  const V one = real<V>(1.0);
  // Where the clamp is active, the quotient rounds to 1.
  const V y = max(abs(x) * real<V>(-2.0), real<V>(Range<scalar_t<V>>::tanh_lowest));
  V n;
  const V p = expm1_reduced(y, n);
  const V power = power_of_two(n);
  return copysign(fma(p, power, power - one) / fma(p, power, power + one), x);
}

// sigmoid: 1 / (1 + e^-x), from e^-|x| so that neither tail overflows.  The quotient is
// corrected for the rounding errors of e^-|x| and of 1 + e^-|x|.
template <class V>
FK_HD V sigmoid(V x) {
  const V one = real<V>(1.0), zero = real<V>(0.0);
  V n;
  const V p = expm1_reduced(max(-abs(x), real<V>(Range<scalar_t<V>>::exp_lowest)), n);
  const V u = one + p;
  const V e = scale_by_power(u, n), e_low = scale_by_power(p - (u - one), n);
  const V d = one + e, d_low = (e - (d - one)) + e_low;
  const mask_t<V> negative = x < zero;
  const V q = select(negative, e, one) / d;
  const V inverse = select(negative, one - q, q);  // 1 / d
  return fma(inverse, select(negative, e_low, zero) - q * d_low, q);
}

// softplus: log(1 + e^x).
template <class V>
FK_HD V softplus(V x) {
  return max(x, real<V>(0.0)) + log1p_below_one(exp(-abs(x)));
}

// logsigmoid: log(1 / (1 + e^-x)) = -softplus(-x).
template <class V>
FK_HD V logsigmoid(V x) {
  return -softplus(-x);
}

// atan2(y, x) for y, x >= 0, not both 0: the smaller over the larger, reduced
// again by pi/4 above 0.6, with one division for both reductions.
template <class V>
FK_HD V atan2_quadrant(V y, V x) {
  const mask_t<V> swap = y > x;
  const V lo = min(y, x), hi = max(y, x);
  const mask_t<V> reduce = lo > hi * real<V>(0.6);
  const V q = select(reduce, lo - hi, lo) / select(reduce, lo + hi, hi);
  const V z = q * q;
  const V p = atan_polynomial(z);
  // The rounding errors of pi/4 and pi/2 are added to the small term.
  const V low = real<V>(is_single<V> ? -2.18556941e-8 : 3.0616169978683830e-17);
  V r = fma(q * z, p, select(reduce, low, real<V>(0.0))) + q;
  r = select(reduce, real<V>(0.78539816339744830962) + r, r);
  return select(swap, real<V>(1.57079632679489661923) - (r - (low + low)), r);
}

template <class V>
FK_HD V atan(V x) {
  FK_TOOLKIT(::atanf(x));
  using T = scalar_t<V>;
  const V a = abs(x);
  const V r = atan2_quadrant(min(a, real<V>(Range<T>::atan_largest)), real<V>(1.0));
  return select(isnan(x), x, copysign(r, x));
}

// atan2: the angle of (x, y) in [-pi, pi]; atan2(0, 0) = 0.
template <class V>
FK_HD V atan2(V y, V x) {
  const V ay = abs(y), ax = abs(x), zero = real<V>(0.0);
  V r = atan2_quadrant(ay, ax);
  r = select((ay == zero) & (ax == zero), zero, r);
  r = select(x < zero, real<V>(3.14159265358979323846) - r, r);
  return copysign(r, y);
}

// sin and cos together; |x| up to the limit in the head comment.  In float32 the first three
// parts of pi/2 have 8 to 11 bits, so n times each is exact, with or without FMA; r is rounded
// only when the third part and the remainder are subtracted together.
template <class V>
FK_HD void sincos(V x, V& sine, V& cosine) {
  using T = scalar_t<V>;
  constexpr T magic = T(is_single<V> ? 12582912.0 : 6755399441055744.0);
  const V shifted = x * real<V>(0.63661977236758134308) + V(magic);
  const V n = shifted - V(magic);
  const auto quadrant = as_int(shifted);
  V r;
  if constexpr (is_single<V>) {
    r = fma(n, real<V>(-1.5703125), x);
    r = fma(n, real<V>(-4.837512969970703125e-4), r);
    const V part = n * real<V>(7.549533620476723e-8), rounded = r - part;
    r = rounded - fma(n, real<V>(2.563344151594519e-12), part - (r - rounded));
  } else {
    r = fma(n, real<V>(-1.57079625129699707031), x);
    r = fma(n, real<V>(-7.54978941586159635335e-8), r);
    r = fma(n, real<V>(-5.39030285815811905290e-15), r);
  }
  const V z = r * r;
  const V s = copysign(fma(r * z, sin_polynomial(z), r), r);  // -0 for -0
  const V c = real<V>(1.0) - (real<V>(0.5) * z - z * z * cos_polynomial(z));
  // Quadrant q: sin is s, c, -s, -c and cos is c, -s, -c, s.
  constexpr int sign_shift = is_single<V> ? 30 : 62;
  const auto one = as_int(shifted) - as_int(shifted) + 1;
  const mask_t<V> odd = to_float(quadrant & one) != real<V>(0.0);
  const auto sign_bit = as_int(T(-0.0));
  const auto sine_sign = (quadrant << sign_shift) & sign_bit;
  const auto cosine_sign = ((quadrant + one) << sign_shift) & sign_bit;
  sine = as_float(as_int(select(odd, c, s)) ^ sine_sign);
  cosine = as_float(as_int(select(odd, s, c)) ^ cosine_sign);
}

FK_END
