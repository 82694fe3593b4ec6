// Elements as they lie in memory, and as vectors hold them.
//
// A loop over elements of type E computes in compute_t<E>: float, double, or float for
// bfloat16, which is widened and narrowed in registers on its way.  (float16 is converted
// chunk by chunk, see chunk.h; so is bfloat16 for x86 processors without AVX2, which saves a copy
// of every loop.)
#pragma once

#include "../../cpu/dispatch.h"
#include "../../math/half.h"

FK_BEGIN
namespace loops {

using ::fk::cpu::DType;

struct BFloat16 {
  uint16_t bits;
};
#if defined(__x86_64__) && !defined(__AVX2__)
constexpr bool has_bf16_loops = false;
#else
constexpr bool has_bf16_loops = true;
#endif

template <class E>
struct Element {
  using compute = E;
  static constexpr DType dtype = sizeof(E) == 4 ? DType::f32 : DType::f64;
};
template <>
struct Element<BFloat16> {
  using compute = float;
  static constexpr DType dtype = DType::bf16;
};
template <class E>
using compute_t = typename Element<E>::compute;
template <class E>
constexpr DType dtype_of = Element<E>::dtype;

template <class E>
FK_HD compute_t<E> to_compute(E e) {
  if constexpr (__is_same(E, BFloat16)) return from_bf16(e.bits);
  if constexpr (!__is_same(E, BFloat16)) return e;
}
template <class E>
FK_HD E to_storage(compute_t<E> v) {
  if constexpr (__is_same(E, BFloat16)) return {to_bf16(v)};
  if constexpr (!__is_same(E, BFloat16)) return v;
}

// Runs body(E()) with the element type of a kernel whose large operands have these dtypes.
template <class Body, class... D>
FK_HD auto with_element(bool float64, Body body, D... dtypes) {
  if (float64) return body(double());
  if constexpr (has_bf16_loops)
    if (((dtypes == DType::bf16) && ...)) return body(BFloat16());
  return body(float());
}

// ---- whole vectors and the first n lanes -----------------------------------------

template <class V>
FK_HD V load_lanes(const scalar_t<V>* p, int n, scalar_t<V> fill = 0) {
  return n == lanes_v<V> ? load<V>(p) : load_n<V>(p, n, fill);
}
template <class V>
FK_HD void store_lanes(scalar_t<V>* p, V v, int n) {
  n == lanes_v<V> ? store<V>(p, v) : store_n<V>(p, v, n);
}

namespace bf16 {

constexpr int lanes = lanes_v<Vec<float>>;
typedef uint16_t Half __attribute__((vector_size(2 * lanes)));
typedef uint32_t Word __attribute__((vector_size(4 * lanes)));

// Instructions where GCC would convert the halves of a vector one by one.
FK_HD Vec<float> widen(Half h) {
#if defined(__AVX512F__)
  return (Vec<float>::Raw)_mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)h), 16);
#elif defined(__AVX2__)
  return (Vec<float>::Raw)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)h), 16);
#else
  return (Vec<float>::Raw)(__builtin_convertvector(h, Word) << 16);
#endif
}
// To the nearest, ties to even; NaN stays NaN.
FK_HD Half narrow_by_bits(Vec<float> v) {
  const Word u = (Word)v.raw;
  const Word rounded = u + (((u >> 16) & 1u) + 0x7fffu);
  const Word kept = (v.raw == v.raw ? rounded : (u | 0x400000u)) >> 16;
#if defined(__AVX512F__)
  return (Half)_mm512_cvtepi32_epi16((__m512i)kept);
#elif defined(__AVX2__)
  const __m256i packed = _mm256_packus_epi32((__m256i)kept, (__m256i)kept);
  return (Half)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0x08));
#else
  return __builtin_convertvector(kept, Half);
#endif
}

#if defined(__AVX512F__)
// Zen 4 and Cooper Lake have an instruction for it, too few of them for a copy of every
// kernel.  It takes subnormal numbers for 0, which are left to the bits.
namespace {
const bool has_instruction = (__builtin_cpu_init(), __builtin_cpu_supports("avx512bf16"));
}
FK_HD Half narrow(Vec<float> v) {
  if (!has_instruction || _mm512_fpclass_ps_mask((__m512)v.raw, 0x20) != 0)
    return narrow_by_bits(v);
  __m256i h;
  asm("vcvtneps2bf16 %1, %0" : "=v"(h) : "v"((__m512)v.raw));
  return (Half)h;
}
#else
FK_HD Half narrow(Vec<float> v) { return narrow_by_bits(v); }
#endif

}  // namespace bf16

template <class V>
FK_HD V load_lanes(const BFloat16* p, int n) {
  bf16::Half h = {};
  if (n == lanes_v<V>) {
    memcpy(&h, p, sizeof(h));
  } else {
    for (int i = 0; i < n; ++i) h[i] = p[i].bits;
  }
  return bf16::widen(h);
}
template <class V>
FK_HD void store_lanes(BFloat16* p, V v, int n) {
  const bf16::Half h = bf16::narrow(v);
  if (n == lanes_v<V>) {
    memcpy(p, &h, sizeof(h));
  } else {
    for (int i = 0; i < n; ++i) p[i].bits = h[i];
  }
}

}  // namespace loops
FK_END
