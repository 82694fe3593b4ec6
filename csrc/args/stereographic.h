// Arguments of the stereographic and stereographic_inverse kernels.
#pragma once

#include "rows.h"

namespace fk {

// `rows` points of R^d or of S^d (d + 1 elements).
struct StereographicArgs {
  int64_t rows = 0, d = 0;
  bool float64 = false;       // computes in float64, else in float32
  bool non_temporal = false;  // where a CPU stores the results
  RowView x;
  RowView out;  // forward: the image; backward: the gradient of x
  RowView log_det;
  RowView grad_out, grad_log_det;  // backward
};

}  // namespace fk
