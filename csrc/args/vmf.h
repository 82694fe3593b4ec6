// Arguments of the vmf_log_prob and stereographic_vmf_log_prob kernels.
#pragma once

#include "rows.h"

namespace fk {

// Sums over rows are taken by row block, independently of the number of threads; on the CPU a
// row block is also a work item.
constexpr int vmf_block_rows = 64;

struct VmfArgs {
  int64_t rows = 0, dim = 0;   // dim: p, the length of loc
  bool stereographic = false;  // x is z, of length dim - 1
  RowView x, loc, kappa;
  const void* plan = nullptr;  // BesselPlan<float or double>, by `wide`
  double log_uniform = 0;      // log C_p(0)
  DType wide = DType::f32;     // dtype of the computation, of out and of the gradients below
  void* out = nullptr;         // forward: (rows,)
  RowView grad;                // backward, (rows,)
  void* grad_x = nullptr;      // (rows, length of x), contiguous, dtype of x
  void* grad_kappa = nullptr;  // (rows,)
  // (rows, dim), or (blocks, dim) sums over the rows of a row block; null if not needed
  void* grad_loc = nullptr;
  bool sum_grad_loc = false;
  int64_t block_rows = vmf_block_rows;  // rows of a row block; always 64 on the CPU
};

}  // namespace fk
