// Views of rows, the operands of kernels.
#pragma once

#include "dtype.h"

namespace fk {

// Rows of elements: element i of row r is at base + (r * row_stride + i * stride), in elements.
struct RowView {
  void* base = nullptr;
  DType dtype = DType::f32;
  int64_t row_stride = 0, stride = 1;
};

// Points of rows: the points of one row are `point_stride` apart.
struct PointView : RowView {
  int64_t point_stride = 0;
};

// `rows` rows of n[0] x n[1] x n[2] elements each (leading dimensions are padded with ones).
// Strides are in elements; stride[0] is that of the rows.
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
