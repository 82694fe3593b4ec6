// Rows: what most kernels work on.
#pragma once

#include "dtype.h"

namespace fk {

// `rows` rows, each a loop nest of n[0] x n[1] x n[2] elements (fewer dimensions are padded
// in front by ones).  Strides are in elements; index 0 is the row's.
struct RowShape {
  int64_t rows = 0;
  int64_t n[3] = {1, 1, 1};
};
struct RowOperand {
  void* base = nullptr;
  DType dtype = DType::f32;
  int64_t stride[4] = {};
};

}  // namespace fk
