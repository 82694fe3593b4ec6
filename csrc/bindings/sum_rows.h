// Sums of gradients over the rows that share an argument.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>

namespace fk {
namespace bindings {

// Contiguous `parts`, a row for every like.numel() of its elements, summed over the rows; in
// the shape and dtype of `like`.  On the CPU a call into torch takes longer than few additions.
inline at::Tensor sum_rows(const at::Tensor& parts, const at::Tensor& like) {
  constexpr int64_t few = 4096;
  const int64_t n = like.numel(), rows = n > 0 ? parts.numel() / n : 0;
  if (!parts.is_cpu() || parts.numel() > few || parts.scalar_type() != like.scalar_type())
    return parts.reshape({rows, n}).sum(0).to(like.scalar_type()).reshape(like.sizes());
  at::Tensor out = at::empty(like.sizes(), like.options());
  AT_DISPATCH_FLOATING_TYPES(parts.scalar_type(), "sum_rows", [&] {
    const scalar_t* from = parts.const_data_ptr<scalar_t>();
    scalar_t* to = out.mutable_data_ptr<scalar_t>();
    for (int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r) sum += from[r * n + i];
      to[i] = static_cast<scalar_t>(sum);
    }
  });
  return out;
}

}  // namespace bindings
}  // namespace fk
