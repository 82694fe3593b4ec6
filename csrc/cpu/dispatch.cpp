#include "dispatch.h"

#include <stdlib.h>
#include <strings.h>

namespace fk {
namespace cpu {
namespace {

bool compiled[static_cast<int>(Isa::count)] = {};

bool supported(Isa isa) {
#if defined(__x86_64__)
  switch (isa) {
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("fma");
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::baseline:
    case Isa::count:
      break;
  }
#endif
  return isa == Isa::baseline;
}

Isa choose() {
  const char* wanted = getenv("FLOWKERNELS_CPU_ISA");
  if (wanted != nullptr && *wanted == '\0') wanted = nullptr;  // as if it were not set
  for (int i = static_cast<int>(Isa::count) - 1; i > 0; --i) {
    const Isa isa = static_cast<Isa>(i);
    if (wanted != nullptr && strcasecmp(wanted, isa_name(isa)) != 0) continue;
    if (compiled[i] && supported(isa)) return isa;
  }
  return Isa::baseline;
}

}  // namespace

bool note_compiled(Isa isa) { return compiled[static_cast<int>(isa)] = true; }
bool isa_compiled(Isa isa) { return compiled[static_cast<int>(isa)]; }

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::avx512:
      return "avx512";
    case Isa::avx2:
      return "avx2";
    case Isa::baseline:
    case Isa::count:
      break;
  }
  return "baseline";
}

Isa isa() {
  static const Isa chosen = choose();
  return chosen;
}

}  // namespace cpu
}  // namespace fk
