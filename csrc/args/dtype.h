// How elements are stored.
//
// csrc/args holds what the bindings hand to a kernel, on whatever kind of machine:
// plain structs of pointers, strides and options.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace fk {

enum class DType : int { f32, f64, f16, bf16 };
constexpr size_t size_of(DType d) { return d == DType::f64 ? 8 : d == DType::f32 ? 4 : 2; }

}  // namespace fk
