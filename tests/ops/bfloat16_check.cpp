// Narrowing to bfloat16, vector by vector, against the scalar definition: every
// `stride`-th of all 2^32 floats and all within 2^17 of those where rounding changes kind.
//
//   bfloat16_check STRIDE      prints the first differences, exits with 1 if there are any

#include <cstdio>
#include <cstdlib>
#include <initializer_list>

#include "../../csrc/engine/cpu/element.h"

using namespace fk;

namespace {

int differences = 0;

void check(const char* what, loops::bf16::Half got, const uint32_t* bits) {
  for (int i = 0; i < loops::bf16::lanes; ++i) {
    const uint16_t want = to_bf16(as_float(static_cast<int32_t>(bits[i])));
    if (got[i] != want && differences++ < 10)
      std::printf("%s of %08x is %04x, expected %04x\n", what, bits[i], got[i], want);
  }
}

void check_from(uint32_t first, uint32_t stride) {
  uint32_t bits[loops::bf16::lanes];
  for (int i = 0; i < loops::bf16::lanes; ++i) bits[i] = first + i * stride;
  Vec<float> v;
  memcpy(&v, bits, sizeof(v));
  check("narrow_by_bits", loops::bf16::narrow_by_bits(v), bits);
  check("narrow", loops::bf16::narrow(v), bits);
  const loops::bf16::Half half = loops::bf16::narrow_by_bits(v);
  const Vec<float> wide = loops::bf16::widen(half);
  for (int i = 0; i < loops::bf16::lanes; ++i)
    if (as_int(wide.raw[i]) != static_cast<int32_t>(uint32_t(half[i]) << 16) && differences++ < 10)
      std::printf("widen of %04x is wrong\n", half[i]);
}

}  // namespace

int main(int, char** argv) {
  const uint32_t stride = static_cast<uint32_t>(std::strtoul(argv[1], nullptr, 10));
  const uint64_t step = uint64_t(stride) * loops::bf16::lanes;
  for (uint64_t first = 0; first < (uint64_t(1) << 32); first += step)
    check_from(static_cast<uint32_t>(first), stride);
  // Zero, the smallest normal number, one, infinity and the last NaN, of either sign.
  for (const uint32_t edge : {0u, 0x00800000u, 0x3f800000u, 0x7f800000u, 0x80000000u})
    for (const uint32_t sign : {0u, 0x80000000u})
      for (uint32_t i = 0; i < 1u << 18; i += loops::bf16::lanes)
        check_from((edge ^ sign) - (1u << 17) + i, 1);
  std::printf("%d differences\n", differences);
  return differences != 0;
}
