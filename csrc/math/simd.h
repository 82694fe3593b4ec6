// Value types of the mathematics: float, double, and vectors of either.
//
// Every function of csrc/math is a template over a value type V: a scalar, the
// widest vector that the translation unit is compiled for, or a scalar of a GPU
// thread.  Vectors use the GCC/Clang vector extensions, and intrinsics for the
// operations that those lack (square root, masked tails).
//
// The kernels are compiled once per instruction set and chosen at load time.
// Everything is in an inline namespace named after the instruction set.  Nothing
// here calls an inline function of the C++ library, because the linker could keep
// a copy that older processors cannot run.
#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__CUDACC__)
#define FK_HD __host__ __device__ __forceinline__
#define FK_INLINE_LAMBDA
#define FK_SIMD 0
#else
#define FK_HD inline __attribute__((always_inline))
// For lambdas that a loop calls: a long body would become a call per vector, which loads its
// constants anew each time.
#define FK_INLINE_LAMBDA __attribute__((always_inline))
#define FK_SIMD 1
#endif

#ifndef FK_ISA
#define FK_ISA baseline
#endif
#define FK_BEGIN \
  namespace fk { \
  inline namespace FK_ISA {
#define FK_END \
  }            \
  }

#if FK_SIMD && defined(__AVX512F__)
#define FK_VECTOR_BYTES 64
#elif FK_SIMD && defined(__AVX2__)
#define FK_VECTOR_BYTES 32
#else
#define FK_VECTOR_BYTES 16
#endif

#if FK_SIMD && defined(__x86_64__)
#include <immintrin.h>
#elif FK_SIMD && defined(__ARM_NEON)
#include <arm_neon.h>
#endif

FK_BEGIN

template <class V>
struct value_traits;

template <>
struct value_traits<float> {
  using scalar = float;
  using mask = bool;
  using integer = int32_t;
  static constexpr int lanes = 1;
};

template <>
struct value_traits<double> {
  using scalar = double;
  using mask = bool;
  using integer = int64_t;
  static constexpr int lanes = 1;
};

template <class V>
using scalar_t = typename value_traits<V>::scalar;
template <class V>
using mask_t = typename value_traits<V>::mask;
// Integers of the same width and number of lanes: the bit pattern of a V.
template <class V>
using int_t = typename value_traits<V>::integer;
template <class V>
constexpr int lanes_v = value_traits<V>::lanes;

// ---- scalars ---------------------------------------------------------------

FK_HD int32_t as_int(float a) {
  int32_t b;
  memcpy(&b, &a, 4);
  return b;
}
FK_HD int64_t as_int(double a) {
  int64_t b;
  memcpy(&b, &a, 8);
  return b;
}
FK_HD float as_float(int32_t a) {
  float b;
  memcpy(&b, &a, 4);
  return b;
}
FK_HD double as_float(int64_t a) {
  double b;
  memcpy(&b, &a, 8);
  return b;
}
FK_HD float to_float(int32_t a) { return static_cast<float>(a); }
FK_HD double to_float(int64_t a) { return static_cast<double>(a); }
FK_HD float select(bool m, float a, float b) { return m ? a : b; }
FK_HD double select(bool m, double a, double b) { return m ? a : b; }
FK_HD bool any(bool m) { return m; }
FK_HD bool all(bool m) { return m; }
FK_HD float sqrt(float a) {
#if defined(__CUDA_ARCH__)
  return ::sqrtf(a);
#else
  return __builtin_sqrtf(a);
#endif
}
FK_HD double sqrt(double a) {
#if defined(__CUDA_ARCH__)
  return ::sqrt(a);
#else
  return __builtin_sqrt(a);
#endif
}
FK_HD float hsum(float a) { return a; }
FK_HD double hsum(double a) { return a; }
FK_HD float hmax(float a) { return a; }
FK_HD double hmax(double a) { return a; }

// ---- vectors ---------------------------------------------------------------
#if FK_SIMD

template <class T>
struct raw_types;
template <>
struct raw_types<float> {
  typedef float value __attribute__((vector_size(FK_VECTOR_BYTES)));
  typedef int32_t integer __attribute__((vector_size(FK_VECTOR_BYTES)));
};
template <>
struct raw_types<double> {
  typedef double value __attribute__((vector_size(FK_VECTOR_BYTES)));
  typedef int64_t integer __attribute__((vector_size(FK_VECTOR_BYTES)));
};

template <class T>
struct Mask {
  typename raw_types<T>::integer bits;  // all ones or all zeros in each lane

  friend FK_HD Mask operator&(Mask a, Mask b) { return {a.bits & b.bits}; }
  friend FK_HD Mask operator|(Mask a, Mask b) { return {a.bits | b.bits}; }
  friend FK_HD Mask operator!(Mask a) { return {~a.bits}; }
};

template <class T>
struct Vec {
  using Raw = typename raw_types<T>::value;
  static constexpr int size = FK_VECTOR_BYTES / sizeof(T);
  Raw raw;

  Vec() = default;
  FK_HD Vec(Raw r) : raw(r) {}
  // s - 0 = s for every s (also -0), so this is a broadcast.
  FK_HD Vec(T s) : raw(s - Raw{}) {}
  template <class S>
    requires(__is_same(S, double) || __is_same(S, int))
  FK_HD explicit Vec(S s) : Vec(static_cast<T>(s)) {}

  friend FK_HD Vec operator+(Vec a, Vec b) { return a.raw + b.raw; }
  friend FK_HD Vec operator-(Vec a, Vec b) { return a.raw - b.raw; }
  friend FK_HD Vec operator*(Vec a, Vec b) { return a.raw * b.raw; }
  friend FK_HD Vec operator/(Vec a, Vec b) { return a.raw / b.raw; }
  friend FK_HD Vec operator-(Vec a) { return -a.raw; }
  FK_HD Vec& operator+=(Vec b) { return *this = *this + b; }
  FK_HD Vec& operator-=(Vec b) { return *this = *this - b; }
  FK_HD Vec& operator*=(Vec b) { return *this = *this * b; }
  friend FK_HD Mask<T> operator<(Vec a, Vec b) { return {a.raw < b.raw}; }
  friend FK_HD Mask<T> operator<=(Vec a, Vec b) { return {a.raw <= b.raw}; }
  friend FK_HD Mask<T> operator>(Vec a, Vec b) { return {a.raw > b.raw}; }
  friend FK_HD Mask<T> operator>=(Vec a, Vec b) { return {a.raw >= b.raw}; }
  friend FK_HD Mask<T> operator==(Vec a, Vec b) { return {a.raw == b.raw}; }
  friend FK_HD Mask<T> operator!=(Vec a, Vec b) { return {a.raw != b.raw}; }
};

template <class T>
struct value_traits<Vec<T>> {
  using scalar = T;
  using mask = Mask<T>;
  using integer = typename raw_types<T>::integer;
  static constexpr int lanes = Vec<T>::size;
};

template <class T>
FK_HD auto as_int(Vec<T> a) {
  return (typename raw_types<T>::integer)a.raw;
}
FK_HD Vec<float> as_float(raw_types<float>::integer a) { return (raw_types<float>::value)a; }
FK_HD Vec<double> as_float(raw_types<double>::integer a) { return (raw_types<double>::value)a; }
FK_HD Vec<float> to_float(raw_types<float>::integer a) {
  return __builtin_convertvector(a, raw_types<float>::value);
}
FK_HD Vec<double> to_float(raw_types<double>::integer a) {
  return __builtin_convertvector(a, raw_types<double>::value);
}

template <class T>
FK_HD Vec<T> select(Mask<T> m, Vec<T> a, Vec<T> b) {
  return m.bits ? a.raw : b.raw;
}

FK_HD bool any(Mask<float> m) {
#if defined(__AVX512F__)
  return _mm512_test_epi32_mask((__m512i)m.bits, (__m512i)m.bits) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)m.bits) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_ps((__m128)m.bits) != 0;
#else
  int32_t r = 0;
  for (int i = 0; i < Vec<float>::size; ++i) r |= m.bits[i];
  return r != 0;
#endif
}
FK_HD bool any(Mask<double> m) {
#if defined(__AVX512F__)
  return _mm512_test_epi64_mask((__m512i)m.bits, (__m512i)m.bits) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_pd((__m256d)m.bits) != 0;
#elif defined(__SSE2__)
  return _mm_movemask_pd((__m128d)m.bits) != 0;
#else
  int64_t r = 0;
  for (int i = 0; i < Vec<double>::size; ++i) r |= m.bits[i];
  return r != 0;
#endif
}
template <class T>
FK_HD bool all(Mask<T> m) {
  return !any(!m);
}

FK_HD Vec<float> sqrt(Vec<float> a) {
#if defined(__AVX512F__)
  return (Vec<float>::Raw)_mm512_sqrt_ps((__m512)a.raw);
#elif defined(__AVX2__)
  return (Vec<float>::Raw)_mm256_sqrt_ps((__m256)a.raw);
#elif defined(__SSE2__)
  return (Vec<float>::Raw)_mm_sqrt_ps((__m128)a.raw);
#elif defined(__aarch64__)
  return (Vec<float>::Raw)vsqrtq_f32((float32x4_t)a.raw);
#else
  for (int i = 0; i < Vec<float>::size; ++i) a.raw[i] = __builtin_sqrtf(a.raw[i]);
  return a;
#endif
}
FK_HD Vec<double> sqrt(Vec<double> a) {
#if defined(__AVX512F__)
  return (Vec<double>::Raw)_mm512_sqrt_pd((__m512d)a.raw);
#elif defined(__AVX2__)
  return (Vec<double>::Raw)_mm256_sqrt_pd((__m256d)a.raw);
#elif defined(__SSE2__)
  return (Vec<double>::Raw)_mm_sqrt_pd((__m128d)a.raw);
#elif defined(__aarch64__)
  return (Vec<double>::Raw)vsqrtq_f64((float64x2_t)a.raw);
#else
  for (int i = 0; i < Vec<double>::size; ++i) a.raw[i] = __builtin_sqrt(a.raw[i]);
  return a;
#endif
}

// Sums and maxima over the lanes, in a fixed order.
template <class T>
FK_HD T hsum(Vec<T> a) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) return _mm512_reduce_add_ps((__m512)a.raw);
  if constexpr (sizeof(T) == 8) return _mm512_reduce_add_pd((__m512d)a.raw);
#endif
  T part[Vec<T>::size];
  memcpy(part, &a.raw, sizeof(part));
  for (int width = Vec<T>::size / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) part[i] += part[i + width];
  return part[0];
}
template <class T>
FK_HD T hmax(Vec<T> a) {
  T best = a.raw[0];
  for (int i = 1; i < Vec<T>::size; ++i) best = best < a.raw[i] ? a.raw[i] : best;
  return best;
}

#endif  // FK_SIMD

// ---- loads and stores, whole and partial -----------------------------------

template <class V>
FK_HD V load(const scalar_t<V>* p) {
  V v;
  memcpy(&v, p, sizeof(V));
  return v;
}
template <class V>
FK_HD void store(scalar_t<V>* p, V v) {
  memcpy(p, &v, sizeof(V));
}

// The first n lanes (0 < n <= lanes) from memory; `fill` in the rest.
template <class V>
FK_HD V load_n(const scalar_t<V>* p, int n, scalar_t<V> fill = 0) {
#if FK_SIMD && defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && sizeof(scalar_t<V>) == 4) {
    return V(
        (typename V::Raw)_mm512_mask_loadu_ps(_mm512_set1_ps(fill), (__mmask16)((1u << n) - 1), p));
  } else if constexpr (sizeof(V) == 64) {
    return V(
        (typename V::Raw)_mm512_mask_loadu_pd(_mm512_set1_pd(fill), (__mmask8)((1u << n) - 1), p));
  }
#endif
  scalar_t<V> lanes[lanes_v<V>];
  for (int i = 0; i < lanes_v<V>; ++i) lanes[i] = i < n ? p[i] : fill;
  return load<V>(lanes);
}
template <class V>
FK_HD void store_n(scalar_t<V>* p, V v, int n) {
#if FK_SIMD && defined(__AVX512F__)
  if constexpr (sizeof(V) == 64 && sizeof(scalar_t<V>) == 4) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v.raw);
    return;
  } else if constexpr (sizeof(V) == 64) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << n) - 1), (__m512d)v.raw);
    return;
  }
#endif
  scalar_t<V> lanes[lanes_v<V>];
  store<V>(lanes, v);
  for (int i = 0; i < n; ++i) p[i] = lanes[i];
}

// ---- generic small operations ----------------------------------------------

// a * b + c, rounded once where the target has the instruction.
template <class V>
FK_HD V fma(V a, V b, V c) {
#if defined(__CUDA_ARCH__)
  if constexpr (sizeof(V) == 4) {
    return __fmaf_rn(a, b, c);
  } else {
    return __fma_rn(a, b, c);
  }
#else
  return a * b + c;
#endif
}
template <class V>
FK_HD V abs(V a) {
  using T = scalar_t<V>;
  return as_float(as_int(a) & ~as_int(T(-0.0)));
}
template <class V>
FK_HD V copysign(V magnitude, V sign) {
  const auto bit = as_int(scalar_t<V>(-0.0));
  return as_float((as_int(magnitude) & ~bit) | (as_int(sign) & bit));
}
// Returns NaN if `a` is NaN: the comparison is false and select returns `a`.  The min and max
// instructions do the same; with AVX-512 masks GCC does not emit them, so they are explicit.
#if FK_SIMD && defined(__AVX512F__)
#define FK_EXTREME(op, a, b)                                                   \
  if constexpr (sizeof(V) == 64 && sizeof(scalar_t<V>) == 4) {                 \
    return V((typename V::Raw)_mm512_##op##_ps((__m512)b.raw, (__m512)a.raw)); \
  } else if constexpr (sizeof(V) == 64)                                        \
  return V((typename V::Raw)_mm512_##op##_pd((__m512d)b.raw, (__m512d)a.raw))
#else
#define FK_EXTREME(op, a, b)
#endif
template <class V>
FK_HD V min(V a, V b) {
  FK_EXTREME(min, a, b);
  return select(b < a, b, a);
}
template <class V>
FK_HD V max(V a, V b) {
  FK_EXTREME(max, a, b);
  return select(a < b, b, a);
}
template <class V>
FK_HD V clamp(V a, V low, V high) {
  return min(max(a, low), high);
}
template <class V>
FK_HD mask_t<V> isnan(V a) {
  return a != a;
}
// Nearest integer, ties to even; exact for every finite value.
template <class V>
FK_HD V rint(V a) {
  using T = scalar_t<V>;
  const V big(T(sizeof(T) == 4 ? 8388608.0 : 4503599627370496.0));
  const V m = abs(a);
  return select(m < big, copysign((m + big) - big, a), a);
}
template <class V>
FK_HD V floor(V a) {
  const V r = rint(a);
  return select(r > a, r - V(scalar_t<V>(1)), r);
}

FK_END
