// Sums of gradients over the rows that share an argument.
#pragma once

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>

namespace fk {
namespace bindings {

// The sum of all elements, the same for any number of threads: torch sums to one number in as many
// parts as there are threads, but to a few columns each in one.
inline at::Tensor sum_all(const at::Tensor& parts) {
  constexpr int64_t columns = 64;
  const at::Tensor flat = parts.reshape({-1});
  const int64_t rest = flat.numel() % columns, even = flat.numel() - rest;
  const at::Tensor sums = flat.narrow(0, 0, even).reshape({even / columns, columns}).sum(0);
  return at::cat({sums, flat.narrow(0, even, rest)}).sum();
}

// Contiguous `parts`, a row for every like.numel() of its elements, summed over the rows; in
// the shape and dtype of `like`.  On the CPU a call into torch takes longer than few additions.
inline at::Tensor sum_rows(const at::Tensor& parts, const at::Tensor& like) {
  constexpr int64_t few = 4096;
  const int64_t n = like.numel(), rows = n > 0 ? parts.numel() / n : 0;
  if (parts.is_cpu() && n == 1 && rows > few)
    return sum_all(parts).to(like.scalar_type()).reshape(like.sizes());
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
