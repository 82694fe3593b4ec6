// Seeds of rows: what the sampling ops take instead of a generator.
#pragma once

#include <ATen/core/Tensor.h>

#include "../args/tangent_normal.h"
#include "check.h"

namespace fk {
namespace bindings {

// `seed`: int64, on the device of `like`, of shape () or that of the leading dimensions of
// `batch`; each seed serves the rows below it.
inline RowSeeds row_seeds(const char* op, const Tensor& seed, const char* other, const Tensor& like,
                          at::IntArrayRef batch) {
  check_dense(op, "seed", seed);
  TORCH_CHECK_TYPE(seed.scalar_type() == at::kLong, op, ": `seed` must be int64, got ",
                   seed.scalar_type());
  check_same_device(op, "seed", seed, other, like);
  TORCH_CHECK_VALUE(seed.dim() <= static_cast<int64_t>(batch.size()) &&
                        seed.sizes() == batch.slice(0, seed.dim()),
                    op, ": `seed` must have the leading dimensions of the batch ", batch, ", got ",
                    seed.sizes());
  const int64_t rows = c10::multiply_integers(batch);
  return {seed.const_data_ptr<int64_t>(), rows > 0 ? rows / seed.numel() : 1};
}

}  // namespace bindings
}  // namespace fk
