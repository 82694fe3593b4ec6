// Element types.
//
// csrc/args has the arguments that the bindings pass to a kernel, the same for every device:
// plain structs of pointers, strides and options.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace fk {

enum class DType : int { f32, f64, f16, bf16 };
constexpr size_t size_of(DType d) { return d == DType::f64 ? 8 : d == DType::f32 ? 4 : 2; }

}  // namespace fk
