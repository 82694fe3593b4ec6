// Arguments of the tangent_normal kernels.
#pragma once

#include "vmf.h"

namespace fk {

// Row r draws its random numbers from key seeds[r / rows_per_seed], counter r % rows_per_seed.
struct RowSeeds {
  const int64_t* seeds = nullptr;
  int64_t rows_per_seed = 1;
};

struct TangentNormalArgs {
  int64_t rows = 0, dim = 0;
  int64_t loc_rows = 1;  // row r has the mean direction of row r % loc_rows of loc
  RowView loc, cosine, sine;
  RowSeeds random;
  DType wide = DType::f32;  // of the computation
  RowView out;              // forward: (rows, dim), contiguous
  RowView grad;             // backward, (rows, dim)
  void* grad_cosine = nullptr;
  void* grad_sine = nullptr;  // (rows,)
  // (rows, dim), or (blocks, dim) sums over the rows of a row block; null if not needed
  void* grad_loc = nullptr;
  bool sum_grad_loc = false;
  int64_t block_rows = vmf_block_rows;  // rows of a row block; always 64 on the CPU
};

}  // namespace fk
