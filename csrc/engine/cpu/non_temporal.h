// Non-temporal stores: past the cache.
//
// A result that will not stay in the cache costs twice its bytes: the processor reads a
// line before it writes to it.  Whole lines stored past the cache are not read.
// Whoever reads the result soon then waits for memory, so this is for calls that move more
// than the cache holds (csrc/bindings/non_temporal.h).
#pragma once

#include "../../math/simd.h"

FK_BEGIN
namespace loops {

constexpr size_t line_bytes = 64;

// One aligned line.
FK_HD void store_line(char* to, const char* from) {
#if defined(__AVX512F__)
  _mm512_stream_si512((__m512i*)to, _mm512_loadu_si512(from));
#elif defined(__AVX2__)
  for (int i = 0; i < 64; i += 32)
    _mm256_stream_si256((__m256i*)(to + i), _mm256_loadu_si256((const __m256i*)(from + i)));
#elif defined(__x86_64__)
  for (int i = 0; i < 64; i += 16)
    _mm_stream_si128((__m128i*)(to + i), _mm_loadu_si128((const __m128i*)(from + i)));
#else
  memcpy(to, from, line_bytes);
#endif
}

// Copies n elements; lines that the results share with others go the usual way.
template <class E>
inline void store_non_temporal(const E* from, E* to, int64_t n) {
  const char* source = (const char*)from;
  char* target = (char*)to;
  char* const end = (char*)(to + n);
  const size_t before_line = -(uintptr_t)target & (line_bytes - 1);
  const size_t all = end - target, ahead = before_line < all ? before_line : all;
  memcpy(target, source, ahead);
  target += ahead;
  source += ahead;
  for (; target + line_bytes <= end; target += line_bytes, source += line_bytes)
    store_line(target, source);
  memcpy(target, source, end - target);
}

// After the last of them: they become visible to other threads in order.
inline void end_non_temporal() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace loops
FK_END
