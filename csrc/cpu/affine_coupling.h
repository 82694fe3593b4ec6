// CPU kernels of affine_coupling: what the bindings hand over.
#pragma once

#include "../math/affine_coupling_options.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

// The channels that are coupled, or those that are only copied: `rows` rows, each a
// loop nest of n[0] x n[1] x n[2] elements (fewer dimensions are padded in front
// by ones).  Strides are in elements; index 0 is the row's.
struct CouplingShape {
  int64_t rows = 0;
  int64_t n[3] = {1, 1, 1};
};
struct CouplingOperand {
  void* base = nullptr;
  DType dtype = DType::f32;
  int64_t stride[4] = {};
};

// One pass forward: y and, for each row and part, the sum of log s.
// One pass backward: grad_x, grad_shift, grad_raw from grad_y and grad_log_det.
// The row's elements are divided into `parts`, so that few long rows use every core.
struct AffineCouplingArgs {
  CouplingShape coupled;
  CouplingShape kept;
  int64_t parts = 1;
  ScaleFn scale_fn = ScaleFn::tanh;
  bool shift_first = false;  // (x + t) s instead of x s + t
  bool inverse = false;
  double bound = 1.0;
  bool float64 = false;  // computes in float64, else in float32
  CouplingOperand x, shift, raw;
  // forward
  CouplingOperand y;
  CouplingOperand log_det;  // (rows, parts), contiguous
  CouplingOperand kept_x, kept_y;
  // backward
  CouplingOperand grad_y, grad_x, grad_shift, grad_raw;
  CouplingOperand grad_log_det;  // stride[0] only
};

// Work items are (row, part) pairs, row-major: [begin, end) of rows * parts.
FK_DECLARE_KERNEL(affine_coupling_forward, void(const AffineCouplingArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(affine_coupling_backward, void(const AffineCouplingArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
