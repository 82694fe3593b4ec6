// An interval divided into K bins by a softmax of raw parameters.
//
//   width_i = 2 B (m + (1 - m K) softmax(r)_i),   knots x_0 = -B, x_k = x_{k-1} + width_{k-1}
//
// A position in a bin is (x - x_k) / width_k.  In float32, knots summed in float32 would be wrong
// by up to 1e-7 of the interval, which is 1e-4 of a bin of a thousandth of it, and steep bins would
// carry that to the result.  So knots keep about 30 bits: a weight e^(r - max) has two parts, a
// multiple of 2^-16, whose sums are exact, and the rest, whose sums have small errors.  Widths and
// positions are kept in units in which the interval has the length `total` of the weights, and
// nothing is divided but at the end.  In float64 there is one part.
#pragma once

#include "elementary.h"

// Loops over bins whose number a GPU's compiler knows are unrolled, so that arrays are registers.
#if defined(__CUDACC__)
#define FK_PRAGMA(x) _Pragma(#x)
#define FK_UNROLL(n) FK_PRAGMA(unroll((n) > 0 ? (n) : 1))
#else
#define FK_UNROLL(n)
#endif

FK_BEGIN

// high + low.
template <class V>
struct Parts {
  V high, low;
};
template <class V>
FK_HD V value(const Parts<V>& p) {
  return p.high + p.low;
}

// The multiple of 2^-16 nearest to |x| < 64.
template <class V>
FK_HD V on_grid(V x) {
  const V magic = real<V>(192.0);
  return (x + magic) - magic;
}
// The leading 12 bits of a float32: products of two such numbers are exact.
template <class V>
FK_HD V leading_bits(V x) {
  using Bits = decltype(as_int(scalar_t<V>()));
  return as_float(as_int(x) & ~Bits(0xfff));
}
// a b to twice float32's precision.
template <class V>
FK_HD Parts<V> product(V a, V b) {
  const V a_high = leading_bits(a), b_high = leading_bits(b);
  return {a_high * b_high, fma(a - a_high, b, a_high * (b - b_high))};
}

// r / (1 + |r slope|), and its derivative.
template <class V>
FK_HD V soft_clip(V r, V slope) {
  return ratio(r, real<V>(1.0) + abs(r * slope));
}
template <class V>
FK_HD V soft_clip_slope(V r, V slope) {
  const V q = ratio(real<V>(1.0), real<V>(1.0) + abs(r * slope));
  return q * q;
}

// ---- the options of one axis --------------------------------------------------------

// `Fixed` is K where it is known to the compiler, else 0.
template <class T, int Fixed>
struct BinConstants {
  int given_count;
  FK_HD constexpr int count() const { return Fixed ? Fixed : given_count; }  // K
  T scale, clip;  // r = soft_clip(scale raw, clip); clip is 0 where raw parameters are not clipped
  T floor;        // m / (1 - m K), in units of the softmax
  T share;        // 1 - m K
  T bound;        // B
  T inverse_high, inverse_low;  // 1 / (2 B); the first has 12 bits
};
template <class T, int Fixed>
FK_HD BinConstants<T, Fixed> bin_constants(int count, double bound, double scale, double smallest,
                                           double clip) {
  BinConstants<T, Fixed> c;
  c.given_count = count;
  c.scale = static_cast<T>(scale);
  c.clip = static_cast<T>(clip);
  c.share = static_cast<T>(1.0 - smallest * count);
  c.floor = static_cast<T>(smallest / (1.0 - smallest * count));
  c.bound = static_cast<T>(bound);
  const double inverse = 0.5 / bound;
  if constexpr (sizeof(T) == 4) {
    c.inverse_high = leading_bits(static_cast<float>(inverse));
    c.inverse_low = static_cast<float>(inverse - static_cast<double>(c.inverse_high));
  } else {
    c.inverse_high = inverse;
    c.inverse_low = 0;
  }
  return c;
}

// ---- weights ------------------------------------------------------------------------

// e^x 2^-shift in two parts.
template <class V>
FK_HD Parts<V> grid_exp(V x, V shift) {
  V n;
  if constexpr (!is_single<V>) {
    const V p = expm1_reduced(x, n);
    return {(real<V>(1.0) + p) * power_of_two(n - shift), real<V>(0.0)};
  } else {
    const V magic = real<V>(12582912.0), one = real<V>(1.0);
    n = fma(x, real<V>(1.4426950408889634074), magic) - magic;
    // x - n log 2 = r + r_low; the first difference is exact.
    const V exact = fma(n, real<V>(-0.693359375), x), rest = n * real<V>(2.12194440e-4);
    const V r = exact + rest, r_low = rest - (r - exact);
    // e^r - 1 = p + r_low, and 1 + p in two parts.
    const V p = fma(r * r, exp_polynomial(r), r), first = one + p;
    const V second = (p - (first - one)) + r_low;
    const V power = power_of_two(n - shift), a = first * power;
    const V high = on_grid(a);
    return {high, fma(second, power, a - high)};
  }
}

// The weights of the bins: e^(r_i - max), up to a common factor.  Arrays are the caller's.
template <class V, class Array>
struct BinWeights {
  Array high, low;
  Parts<V> sum;    // of the weights
  Parts<V> floor;  // added to each
  Parts<V> total;  // of the weights with what is added
};

template <class V, class Array, class T, int Fixed, class Raw>
FK_HD void weigh_bins(BinWeights<V, Array>& bins, const BinConstants<T, Fixed>& c, int first,
                      const Raw& raw) {
  V top = V(T(-INFINITY));
  FK_UNROLL(Fixed)
  for (int i = 0; i < c.count(); ++i) {
    V r = raw(first + i) * V(c.scale);
    if (c.clip != 0) r = soft_clip(r, V(c.clip));
    bins.high[i] = r;
    top = max(top, r);
  }
  // Multiples of log 2 are subtracted exactly from numbers that are not huge.
  const mask_t<V> huge = abs(top) > real<V>(1000.0);
  if (any(huge)) {
    const V away = select(huge, top, real<V>(0.0));
    FK_UNROLL(Fixed)
    for (int i = 0; i < c.count(); ++i) bins.high[i] = bins.high[i] - away;
    top = top - away;
  }
  const V lowest = top + real<V>(Range<T>::spline_lowest);
  const V shift = rint(top * real<V>(1.4426950408889634074));
  bins.sum = {real<V>(0.0), real<V>(0.0)};
  FK_UNROLL(Fixed)
  for (int i = 0; i < c.count(); ++i) {
    const Parts<V> e = grid_exp(max(bins.high[i], lowest), shift);
    bins.high[i] = e.high;
    bins.sum.high += e.high;
    if constexpr (is_single<V>) {
      bins.low[i] = e.low;
      bins.sum.low += e.low;
    }
  }
  const V count(static_cast<T>(c.count()));
  const V floor = value(bins.sum) * V(c.floor);
  bins.floor = {floor, real<V>(0.0)};
  if constexpr (is_single<V>) bins.floor = {on_grid(floor), floor - on_grid(floor)};
  bins.total = {fma(count, bins.floor.high, bins.sum.high),
                fma(count, bins.floor.low, bins.sum.low)};
}

// The width of bin i in parts, and its weight.
template <class V, class Array>
FK_HD Parts<V> bin_width(const BinWeights<V, Array>& bins, int i) {
  if constexpr (is_single<V>) return {bins.high[i] + bins.floor.high, bins.low[i] + bins.floor.low};
  if constexpr (!is_single<V>) return {bins.high[i] + bins.floor.high, real<V>(0.0)};
}
template <class V, class Array>
FK_HD V bin_weight(const BinWeights<V, Array>& bins, int i) {
  if constexpr (is_single<V>) return bins.high[i] + bins.low[i];
  if constexpr (!is_single<V>) return bins.high[i];
}

// ---- bins and positions ---------------------------------------------------------------

// x in [-B, B], in the units of `total`: (x + B) / (2 B) total.
template <class V, class Array, class T, int Fixed>
FK_HD Parts<V> bin_position(const BinWeights<V, Array>& bins, const BinConstants<T, Fixed>& c,
                            V x) {
  const V half = real<V>(0.5);
  if constexpr (!is_single<V>)
    return {bins.total.high * fma(x, V(c.inverse_high), half), real<V>(0.0)};
  if constexpr (is_single<V>) {
    // x / (2 B) = p, then total p + total / 2.
    const V x_high = leading_bits(x);
    const Parts<V> p = {x_high * V(c.inverse_high),
                        fma(x - x_high, V(c.inverse_high), x * V(c.inverse_low))};
    Parts<V> t = product(bins.total.high, p.high);
    t.low += fma(bins.total.high, p.low, bins.total.low * (half + value(p)));
    const V middle = half * bins.total.high;
    const V high = on_grid(middle + t.high);
    return {high, ((middle - high) + t.high) + t.low};
  }
}

// The bin of a position along one axis, and that of the same number along the other; in the units
// of each axis's `total`.
template <class V>
struct FoundBins {
  V number;
  V u, v;         // the position's distances from both ends of its bin, divided by the width
  V width;        // of its bin
  V other_width;  // of the other bin
  Parts<V> other_start;
};

// The last bin that begins at or before a position.  Calls at_knot(k, reached) for the inner knots
// k = 1 ... K - 1.
template <class V, class Array, class T, int Fixed, class AtKnot>
FK_HD FoundBins<V> find_bins(const BinWeights<V, Array>& bins, const BinWeights<V, Array>& others,
                             const BinConstants<T, Fixed>& c, const Parts<V>& position,
                             const AtKnot& at_knot) {
  const V zero = real<V>(0.0);
  Parts<V> rest = position, width = bin_width(bins, 0), other = bin_width(others, 0);
  V distance = value(rest);
  FoundBins<V> found = {zero, zero, zero, value(width), value(other), {zero, zero}};
  FK_UNROLL(Fixed)
  for (int k = 1; k < c.count(); ++k) {
    rest = {rest.high - width.high, rest.low - width.low};
    width = bin_width(bins, k);
    const V left = value(rest);
    const mask_t<V> reached = left >= zero;
    distance = select(reached, left, distance);
    found.number = select(reached, V(static_cast<T>(k)), found.number);
    found.width = select(reached, value(width), found.width);
    found.other_start.high += select(reached, other.high, zero);
    if constexpr (is_single<V>) found.other_start.low += select(reached, other.low, zero);
    other = bin_width(others, k);
    found.other_width = select(reached, value(other), found.other_width);
    at_knot(k, reached);
  }
  found.u = max(distance, zero) / found.width;
  found.v = max(found.width - distance, zero) / found.width;
  return found;
}

// What lies a fraction of the bin's width beyond its beginning, in [-B, B].
template <class V, class Array, class T, int Fixed>
FK_HD V bin_point(const BinWeights<V, Array>& bins, const BinConstants<T, Fixed>& c,
                  const Parts<V>& start, V width, V fraction) {
  // B (2 (start + width fraction) - total) / total, and what the quotient lost.
  const V two = real<V>(2.0), bound(c.bound), inverse = ratio(real<V>(1.0), value(bins.total));
  const V beyond = fma(two * width, fraction, fma(two, start.low, -bins.total.low));
  const V knot = fma(two, start.high, -bins.total.high), centred = knot + beyond;
  V quotient = centred * inverse, correction = real<V>(0.0);
  if constexpr (is_single<V>) {
    const V added = centred - knot;
    const V lost = (knot - (centred - added)) + (beyond - added);
    const Parts<V> back = product(quotient, bins.total.high);
    correction = ((centred - back.high) - back.low) + (lost - quotient * bins.total.low);
    correction = bound * (correction * inverse);
  }
  return clamp(fma(bound, quotient, correction), -bound, bound);
}

// ---- gradients -------------------------------------------------------------------------

// Stores the gradients of the raw parameters from those of where the bin begins and of its width,
// both in units of x: with p the softmax and P_k the sum of the p_i before bin k,
// d x_k / d r_i = 2 B (1 - m K) p_i ([i < k] - P_k),  d w_k / d r_i = 2 B (1 - m K) p_i ([i = k] -
// p_k).
template <class V, class Array, class T, int Fixed, class Raw, class Store>
FK_HD void store_bin_gradients(const BinWeights<V, Array>& bins, const BinConstants<T, Fixed>& c,
                               V number, V grad_start, V grad_width, int first, const Raw& raw,
                               const Store& store) {
  const V zero = real<V>(0.0), inverse = ratio(real<V>(1.0), value(bins.sum));
  V before = zero, at = zero;
  FK_UNROLL(Fixed)
  for (int i = 0; i < c.count(); ++i) {
    const V weight = bin_weight(bins, i), place(static_cast<T>(i));
    before += select(place < number, weight, zero);
    at = select(place == number, weight, at);
  }
  const V common = (grad_start * before + grad_width * at) * inverse;
  const V unit = (real<V>(2.0) * V(c.bound) * V(c.share)) * inverse * V(c.scale);
  FK_UNROLL(Fixed)
  for (int i = 0; i < c.count(); ++i) {
    const V place(static_cast<T>(i));
    const V own = select(place < number, grad_start, select(place == number, grad_width, zero));
    V grad = (unit * bin_weight(bins, i)) * (own - common);
    if (c.clip != 0) grad *= soft_clip_slope(raw(first + i) * V(c.scale), V(c.clip));
    store(first + i, grad);
  }
}

FK_END
