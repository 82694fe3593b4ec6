// What the arguments of ops that map channels and add to their rows' log-dets have in common.
#pragma once

#include "rows.h"

namespace fk {

// One pass forward: y and log_det.  One pass backward: the gradients of x and of the parameters.
// A row's elements are divided into `parts`, so that few long rows use every core.
struct MapArgs {
  RowShape coupled;  // the channels that are mapped
  RowShape kept;     // the channels that are only copied
  int64_t parts = 1;
  bool float64 = false;   // computes in float64, else in float32
  bool sums_rows = true;  // one log-det a row and part, else one an element
  RowOperand x;
  // forward
  RowOperand y;
  RowOperand log_det;  // (rows, parts), contiguous; or as the elements
  // backward
  RowOperand grad_y, grad_x;
  RowOperand grad_log_det;  // stride[0] only, or as the elements
  // from x to y, or from grad_y to grad_x
  RowOperand kept_x, kept_y;
};

}  // namespace fk
