// Arguments of the slerp kernels.
#pragma once

#include "dtype.h"

namespace fk {

// Strides in elements: of pairs, of points on a pair's arc, along a vector.
struct SlerpOperand {
  void* base = nullptr;
  DType dtype = DType::f32;
  int64_t row_stride = 0, point_stride = 0, stride = 0;
};

// `rows` pairs of vectors of d elements, `points` >= 1 fractions t each.
struct SlerpArgs {
  int64_t rows = 0, points = 0, d = 0;
  bool float64 = false;     // computes in float64, else in float32
  bool past_cache = false;  // where a CPU stores the results
  SlerpOperand a, b, t;
  double number = 0;  // the fraction of all points where t has no memory: on a GPU, a number
  SlerpOperand y;     // forward
  SlerpOperand grad_y, grad_a, grad_b, grad_t;  // backward; grad_t for every row and point
};

}  // namespace fk
