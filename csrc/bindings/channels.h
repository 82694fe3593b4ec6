// The operands of ops on channels (B, C, *S) as loop nests, for every device.
#pragma once

#include <ATen/Functions.h>

#include "../args/rows.h"
#include "check.h"

namespace fk {
namespace bindings {
namespace channels {

// Merges the dimensions (C, *S) of all operands where their strides allow it.
inline RowShape merge(at::IntArrayRef sizes, std::initializer_list<RowOperand*> operands,
                      std::initializer_list<at::IntArrayRef> strides) {
  RowShape shape;
  shape.rows = sizes[0];
  // Views without elements may have strides of any kind.
  if (c10::multiply_integers(sizes) == 0) {
    shape.n[2] = c10::multiply_integers(sizes.slice(1));
    return shape;
  }
  int64_t n[3] = {1, 1, 1};
  int64_t merged[8][3] = {};
  int last = -1;
  for (size_t d = 1; d < sizes.size(); ++d) {
    if (sizes[d] == 1) continue;
    bool extends = last >= 0;
    size_t k = 0;
    for (auto s : strides) extends = extends && merged[k++][last] == s[d] * sizes[d];
    if (!extends) ++last;
    TORCH_INTERNAL_ASSERT(last < 3);
    n[last] = extends ? n[last] * sizes[d] : sizes[d];
    k = 0;
    for (auto s : strides) merged[k++][last] = s[d];
  }
  const int shift = 2 - (last < 0 ? 0 : last);  // right-align: the longest run is innermost
  size_t k = 0;
  auto stride = strides.begin();
  for (auto* o : operands) {
    o->stride[0] = (*stride++)[0];
    for (int d = 0; d <= last; ++d) o->stride[1 + d + shift] = merged[k][d];
    if (last < 0) o->stride[3] = 1;
    ++k;
  }
  for (int d = 0; d <= last; ++d) shape.n[d + shift] = n[d];
  return shape;
}

// All of a tensor, or from a channel on.
inline RowOperand operand(const Tensor& t) {
  RowOperand o;
  o.dtype = cpu_dtype(t.scalar_type());
  o.base = t.data_ptr();
  return o;
}
inline RowOperand operand(const Tensor& t, int64_t channel) {
  RowOperand o = operand(t);
  o.base = static_cast<char*>(o.base) + channel * t.stride(1) * t.element_size();
  return o;
}

// At most three merged dimensions fit a kernel's loop nest; rarer layouts are copied.
inline Tensor loopable(const Tensor& t) { return t.dim() <= 4 ? t : t.contiguous(); }

// Which channels a coupling maps, and which it copies.
struct Split {
  int64_t coupled, kept;  // numbers of channels
  int64_t coupled_at, kept_at;
};
inline Split split(const Tensor& x, int64_t coupled, bool transform_first) {
  const int64_t kept = x.size(1) - coupled;
  return {coupled, kept, transform_first ? 0 : kept, transform_first ? coupled : 0};
}

// The sizes of some of the channels.
inline c10::SmallVector<int64_t, 6> sizes_of(const Tensor& x, int64_t channels) {
  c10::SmallVector<int64_t, 6> sizes(x.sizes().begin(), x.sizes().end());
  sizes[1] = channels;
  return sizes;
}

// A log-det has a number a row, or one for each mapped element.
inline c10::SmallVector<int64_t, 6> log_det_sizes(const Tensor& x, int64_t coupled,
                                                  bool sums_rows) {
  if (sums_rows) return {x.size(0)};
  return sizes_of(x, coupled);
}

// The shape of channels that are copied from one operand to the other.
inline RowShape shape_of_kept(const Tensor& x, int64_t kept, RowOperand& from,
                              at::IntArrayRef from_strides, RowOperand& to,
                              at::IntArrayRef to_strides) {
  return merge(sizes_of(x, kept), {&from, &to}, {from_strides, to_strides});
}

}  // namespace channels
}  // namespace bindings
}  // namespace fk
