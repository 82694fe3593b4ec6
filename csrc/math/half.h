// Conversion of float16 and bfloat16 elements: exact to float, rounded to nearest even from float.
#pragma once

#include "simd.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

FK_BEGIN

FK_HD float from_bf16(uint16_t h) { return as_float(static_cast<int32_t>(uint32_t(h) << 16)); }

FK_HD uint16_t to_bf16(float f) {
#if defined(__CUDA_ARCH__)
  return __bfloat16_as_ushort(__float2bfloat16_rn(f));
#else
  const uint32_t u = static_cast<uint32_t>(as_int(f));
  const uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const uint32_t quiet = (u >> 16) | 0x40u;
  return static_cast<uint16_t>((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
#endif
}

FK_HD float from_f16(uint16_t h) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(h));
#elif defined(__F16C__)
  return _cvtsh_ss(h);
#else
  // A multiplication re-biases the exponent and renormalises subnormals.
  const uint32_t sign = uint32_t(h & 0x8000u) << 16;
  const uint32_t magnitude = uint32_t(h & 0x7fffu) << 13;
  const float scaled = as_float(static_cast<int32_t>(magnitude)) * 0x1p112f;
  const uint32_t special = 0x7f800000u | magnitude;
  const uint32_t bits = (h & 0x7c00u) == 0x7c00u ? special : static_cast<uint32_t>(as_int(scaled));
  return as_float(static_cast<int32_t>(sign | bits));
#endif
}

FK_HD uint16_t to_f16(float f) {
#if defined(__CUDA_ARCH__)
  return __half_as_ushort(__float2half_rn(f));
#elif defined(__F16C__)
  return static_cast<uint16_t>(_cvtss_sh(f, 0));
#else
  const uint32_t u = static_cast<uint32_t>(as_int(f));
  const uint32_t sign = (u >> 16) & 0x8000u, magnitude = u & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {
    // Below 2^-14: adding 0.5 aligns the binary point at the last subnormal bit.
    const float aligned = as_float(static_cast<int32_t>(magnitude)) + 0.5f;
    return static_cast<uint16_t>(sign | (static_cast<uint32_t>(as_int(aligned)) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
#endif
}

FK_END
