// Arguments of the slerp kernels.
#pragma once

#include "rows.h"

namespace fk {

// `rows` pairs of vectors of d elements, `points` >= 1 fractions t each.
struct SlerpArgs {
  int64_t rows = 0, points = 0, d = 0;
  bool float64 = false;       // computes in float64, else in float32
  bool non_temporal = false;  // where a CPU stores the results
  PointView a, b, t;
  double number = 0;  // the fraction of all points where t has no memory: on a GPU, a number
  PointView y;        // forward
  PointView grad_y, grad_a, grad_b, grad_t;  // backward; grad_t for every row and point
};

}  // namespace fk
