// CPU kernels of log_det_diagonal.
#pragma once

#include "dispatch.h"

namespace fk {
namespace cpu {

// rows x n elements; strides in elements.
struct LogDetArgs {
  const void* diag = nullptr;
  DType dtype = DType::f32;
  int64_t n = 0, row_stride = 0, stride = 0;
  void* log_det = nullptr;  // forward: (rows,), float32 or float64
  const void* grad_log_det = nullptr;
  DType wide = DType::f32;  // dtype of log_det and of the computation
  int64_t grad_stride = 0;
  void* grad_diag = nullptr;  // backward: (rows, n), contiguous, dtype of diag
};

FK_DECLARE_KERNEL(log_det_forward, void(const LogDetArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(log_det_backward, void(const LogDetArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
