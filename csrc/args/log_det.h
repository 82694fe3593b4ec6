// Arguments of the log_det_diagonal kernels.
#pragma once

#include "dtype.h"

namespace fk {

// rows x n elements; strides in elements.
struct LogDetArgs {
  const void* diag = nullptr;
  DType dtype = DType::f32;
  int64_t rows = 0, n = 0, row_stride = 0, stride = 0;
  void* log_det = nullptr;  // forward: (rows,), float32 or float64
  const void* grad_log_det = nullptr;
  DType wide = DType::f32;  // dtype of log_det and of the computation
  int64_t grad_stride = 0;
  void* grad_diag = nullptr;  // backward: (rows, n), contiguous, dtype of diag
};

}  // namespace fk
