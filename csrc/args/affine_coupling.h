// Arguments of the affine_coupling kernels.
#pragma once

#include "../math/affine_coupling.h"
#include "rows.h"

namespace fk {

// The options that change the formulas.
struct CouplingOptions {
  ScaleFn scale_fn = ScaleFn::tanh;
  double bound = 1.0;
  double gain = 1.0;         // of the raw scale
  bool shift_first = false;  // (x + t) s instead of x s + t
  bool inverse = false;
};

// The channels that are coupled, or those that are only copied.
using CouplingShape = RowShape;
using CouplingOperand = RowOperand;

// One pass forward: y and log s, summed for each row and part or left for each element.
// One pass backward: grad_x, grad_shift, grad_raw from grad_y and grad_log_det.
// The row's elements are divided into `parts`, so that few long rows use every core.
struct AffineCouplingArgs : CouplingOptions {
  CouplingShape coupled;
  CouplingShape kept;
  int64_t parts = 1;
  bool float64 = false;   // computes in float64, else in float32
  bool sums_rows = true;  // one log-det a row and part, else one an element
  CouplingOperand x, shift, raw;
  // forward
  CouplingOperand y;
  CouplingOperand log_det;  // (rows, parts), contiguous; or as the elements
  CouplingOperand kept_x, kept_y;
  // backward
  CouplingOperand grad_y, grad_x, grad_shift, grad_raw;
  CouplingOperand grad_log_det;  // stride[0] only, or as the elements
};

}  // namespace fk
