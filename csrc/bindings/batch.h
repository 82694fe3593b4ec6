// The batch of a tensor of rows.
#pragma once

#include <ATen/core/Tensor.h>

namespace fk {
namespace bindings {

// The leading dimensions of (*batch, n).
inline at::IntArrayRef batch_of(const at::Tensor& rows) {
  return rows.sizes().slice(0, rows.dim() - 1);
}

}  // namespace bindings
}  // namespace fk
