// Sums in float64 of elements of either type.
#pragma once

#include "chunk.h"

FK_BEGIN
namespace loops {

// As many doubles as make a vector, but no fewer than one vector has floats.
constexpr int wide_lanes = FK_VECTOR_BYTES == 16 ? 4 : FK_VECTOR_BYTES / 8;
typedef double Wide __attribute__((vector_size(wide_lanes * 8)));
template <class T>
struct Narrow {
  typedef T type __attribute__((vector_size(wide_lanes * sizeof(T))));
};

// As many floats as there are doubles in a vector, converted.
FK_HD Vec<double> widen(const float* p) {
#if defined(__AVX512F__)
  // GCC would convert the halves one by one.
  return (Vec<double>::Raw)_mm512_cvtps_pd(_mm256_loadu_ps(p));
#endif
  typedef float Half __attribute__((vector_size(FK_VECTOR_BYTES / 2)));
  Half h;
  memcpy(&h, p, sizeof(h));
  return __builtin_convertvector(h, Vec<double>::Raw);
}

template <class T>
FK_HD Wide load_wide(const T* p) {
  if constexpr (sizeof(T) == 4 && sizeof(Wide) == FK_VECTOR_BYTES) return (Wide)widen(p).raw;
  typename Narrow<T>::type v;
  memcpy(&v, p, sizeof(v));
  return __builtin_convertvector(v, Wide);
}
template <class T>
FK_HD void store_narrow(T* p, Wide w) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm256_storeu_ps(p, _mm512_cvtpd_ps((__m512d)w));
#endif
  const typename Narrow<T>::type v = __builtin_convertvector(w, typename Narrow<T>::type);
  memcpy(p, &v, sizeof(v));
}
// As many doubles as a vector has floats, rounded.
FK_HD Vec<float> narrow(const Wide (&w)[lanes_v<Vec<float>> / wide_lanes]) {
#if defined(__AVX512F__)
  const __m512 low = _mm512_castps256_ps512(_mm512_cvtpd_ps((__m512d)w[0]));
  return (Vec<float>::Raw)_mm512_insertf32x8(low, _mm512_cvtpd_ps((__m512d)w[1]), 1);
#elif defined(__AVX2__)
  const __m256 low = _mm256_castps128_ps256(_mm256_cvtpd_ps((__m256d)w[0]));
  return (Vec<float>::Raw)_mm256_insertf128_ps(low, _mm256_cvtpd_ps((__m256d)w[1]), 1);
#else
  return __builtin_convertvector(w[0], Vec<float>::Raw);
#endif
}
// The last n < wide_lanes of elements that end at `end`, and 0 in front of them; reads
// wide_lanes elements.
template <class T>
FK_HD Wide load_last(const T* end, int n) {
  Wide lane;
  for (int k = 0; k < wide_lanes; ++k) lane[k] = k;
  return lane < Wide{} + (wide_lanes - n) ? Wide{} : load_wide(end - wide_lanes);
}

template <class W>
FK_HD double sum_lanes(W w) {
  if constexpr (sizeof(W) == FK_VECTOR_BYTES) {
    return hsum(Vec<double>((Vec<double>::Raw)w));
  } else {
    return (w[0] + w[2]) + (w[1] + w[3]);
  }
}

// The sum of squares.
template <class T>
FK_HD double sum_squares(const T* x, int n) {
  Wide part[4] = {};
  int i = 0;
  for (; i + 4 * wide_lanes <= n; i += 4 * wide_lanes) {
    for (int k = 0; k < 4; ++k) {
      const Wide v = load_wide(x + i + k * wide_lanes);
      part[k] += v * v;
    }
  }
  for (; i + wide_lanes <= n; i += wide_lanes) {
    const Wide v = load_wide(x + i);
    part[0] += v * v;
  }
  if (i < n && n >= wide_lanes) {
    const Wide v = load_last(x + n, n - i);
    part[1] += v * v;
    i = n;
  }
  double total = sum_lanes((part[0] + part[1]) + (part[2] + part[3]));
  for (; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return total;
}

// The same to a float's accuracy, where no difference of squares is taken.  Squares of
// bfloat16 are exact in float32, and the sum is then nearly so.
template <class E>
FK_HD double sum_squares_by_fours(const E* x, int n) {
  using T = compute_t<E>;
  if constexpr (sizeof(T) == 8) {
    return sum_squares(x, n);
  } else {
    using V = Vec<T>;
    Wide total = {};
    int i = 0;
    for (; i + 4 * lanes_v<V> <= n; i += 4 * lanes_v<V>) {
      V four(T(0));
      for (int k = 0; k < 4; ++k) {
        const V v = load_lanes<V>(x + i + k * lanes_v<V>, lanes_v<V>);
        four = fma(v, v, four);
      }
      T sums[lanes_v<V>];
      store<V>(sums, four);
      for (int k = 0; k < lanes_v<V>; k += wide_lanes) total += load_wide(sums + k);
    }
    V rest(T(0));
    for_lanes<V>(n - i, [&](int j, int lanes) {
      const V v = load_lanes<V>(x + i + j, lanes);
      rest = fma(v, v, rest);
    });
    return sum_lanes(total) + static_cast<double>(hsum(rest));
  }
}

}  // namespace loops
FK_END
