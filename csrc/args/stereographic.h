// Arguments of the stereographic and stereographic_inverse kernels.
#pragma once

#include "dtype.h"

namespace fk {

// Strides in elements: of rows and along a row.
struct StereographicOperand {
  void* base = nullptr;
  DType dtype = DType::f32;
  int64_t row_stride = 0, stride = 0;
};

// `rows` points of R^d or of S^d (d + 1 elements).
struct StereographicArgs {
  int64_t rows = 0, d = 0;
  bool float64 = false;     // computes in float64, else in float32
  bool past_cache = false;  // where a CPU stores the results
  StereographicOperand x;
  StereographicOperand out;  // forward: the image; backward: the gradient of x
  StereographicOperand log_det;
  StereographicOperand grad_out, grad_log_det;  // backward
};

}  // namespace fk
