// Counter-based random numbers: Philox4x32-10, and uniform and normal numbers from its words.
//
// Four words are a function of a four-word counter and a two-word key, so every row of a
// batch draws the same numbers for any number of threads, vector width or device.
// Salmon, Moraes, Dror & Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (SC 2011).
//
// Words are uint32_t, or one per 64-bit lane of a vector (the upper 32 bits are ignored).
#pragma once

#include "elementary.h"

FK_BEGIN

#if FK_SIMD
typedef uint64_t WordVec __attribute__((vector_size(FK_VECTOR_BYTES)));
#endif

template <class V>
struct words_of {
  using type = uint32_t;
};
#if FK_SIMD
template <class T>
struct words_of<Vec<T>> {
  using type = WordVec;
};
#endif
template <class V>
using words_t = typename words_of<V>::type;

// Returns the product of two words, of which the lower 32 bits are used; sets the upper 32 bits.
FK_HD uint32_t product_of_words(uint32_t a, uint32_t b, uint32_t& high) {
  const uint64_t p = static_cast<uint64_t>(a) * b;
  high = static_cast<uint32_t>(p >> 32);
  return static_cast<uint32_t>(p);
}
#if FK_SIMD
FK_HD WordVec product_of_words(WordVec a, uint32_t b, WordVec& high) {
#if defined(__AVX512F__)
  const WordVec p = (WordVec)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
  const WordVec p = (WordVec)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#elif defined(__SSE2__)
  const WordVec p = (WordVec)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(b));
#else
  const WordVec p = (a & 0xffffffffu) * b;
#endif
  high = p >> 32;
  return p;
}
#endif

template <class W>
FK_HD void philox_round(W& c0, W& c1, W& c2, W& c3, W k0, W k1) {
  W high0, high1;
  const W low0 = product_of_words(c0, 0xD2511F53u, high0);
  const W low1 = product_of_words(c2, 0xCD9E8D57u, high1);
  c0 = high1 ^ c1 ^ k0;
  c1 = low1;
  c2 = high0 ^ c3 ^ k1;
  c3 = low0;
}
// round(k0, k1) with the keys of ten rounds.
template <class W, class Round>
FK_HD void for_rounds(W k0, W k1, Round round) {
  for (int i = 0; i < 10; ++i) {
    round(k0, k1);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}
// Ten rounds on counter c, in place.
template <class W>
FK_HD void philox(W& c0, W& c1, W& c2, W& c3, W k0, W k1) {
  for_rounds(k0, k1,
             [&](W low, W high) FK_INLINE_LAMBDA { philox_round(c0, c1, c2, c3, low, high); });
}
// On n counters at once: the rounds of one are a chain, which the others' fill.
template <int n, class W>
FK_HD void philox(W (&c)[n][4], W k0, W k1) {
  for_rounds(k0, k1, [&](W low, W high) FK_INLINE_LAMBDA {
    for (int i = 0; i < n; ++i) philox_round(c[i][0], c[i][1], c[i][2], c[i][3], low, high);
  });
}

// The last word of the counter: separates the uses of one key.
enum class Stream : uint32_t { direction = 0, cosine = 1 };

// ---- uniform numbers in the open interval (0, 1), symmetric about 1/2 ---------------

FK_HD double small_integer(uint32_t w) { return static_cast<double>(w); }
#if FK_SIMD
// Words below 2^52 in 64-bit lanes, from the bit pattern of 2^52 + w.
FK_HD Vec<double> small_integer(WordVec w) {
  const double big = 4503599627370496.0;
  const int64_t exponent = as_int(big);
  return as_float((raw_types<double>::integer)w | exponent) - Vec<double>(big);
}
#endif

// (2m + 1) / 2^53, m the upper 26 bits of both words.
template <class V>
FK_HD V uniform(words_t<V> high, words_t<V> low) {
  const V a = small_integer((high & 0xffffffffu) >> 6), b = small_integer((low & 0xffffffffu) >> 6);
  return (a * V(134217728.0) + (b + b + V(1.0))) * V(1.1102230246251565e-16);
}

// Two independent normal numbers from two words by the Box-Muller transform: the radius from
// the upper 23 bits of `radius`, the angle from the upper 23 bits of `angle`, in both
// precisions.  The words are signed integers in the lanes of V.
template <class V, class I>
FK_HD void box_muller(I radius, I angle, V& first, V& second) {
  // Exact: odd multiples of 2^-24 in (0, 1), and of 2^-23 in (-1, 1), in units of pi.
  const V u = (to_float((radius >> 9) & 0x7fffff) * real<V>(2.0) + real<V>(1.0)) *
              real<V>(5.9604644775390625e-8);
  const V half_turns =
      (to_float(angle >> 9) * real<V>(2.0) + real<V>(1.0)) * real<V>(1.1920928955078125e-7);
  const V length = sqrt(real<V>(-2.0) * log(u));
  V sine, cosine;
  sincos(half_turns * real<V>(3.14159265358979323846), sine, cosine);
  first = length * cosine;
  second = length * sine;
}

FK_END
