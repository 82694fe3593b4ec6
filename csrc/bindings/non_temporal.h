// Which calls store their results past the cache (csrc/engine/cpu/non_temporal.h).
#pragma once

#include <ATen/core/Tensor.h>

namespace fk {
namespace bindings {

// From about this much on, a call and a sum of its result right after it take less time
// together with such stores than without (benchmarks/NOTES.md): little of what a call
// wrote is still in a core's share of the last cache then.
constexpr size_t non_temporal_bytes = size_t{16} << 20;

// Whether a call that reads and writes these tensors is one; on processors that
// have such stores.
template <class... T>
bool non_temporal(const T&... tensors) {
#if defined(__x86_64__)
  return (tensors.nbytes() + ...) > non_temporal_bytes;
#else
  return false;
#endif
}

}  // namespace bindings
}  // namespace fk
