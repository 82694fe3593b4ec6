// The operands of ops on channels (B, C, *S) as loop nests, for every device.
#pragma once

#include <ATen/Functions.h>

#include "../args/options.h"
#include "../args/rows.h"
#include "check.h"

namespace fk {
namespace bindings {
namespace channels {

using Sizes = c10::SmallVector<int64_t, 6>;

// The sizes of some of the channels.
inline Sizes sizes_of(const Tensor& x, int64_t channels) {
  Sizes sizes(x.sizes().begin(), x.sizes().end());
  sizes[1] = channels;
  return sizes;
}

// Operands that a loop nest walks together.
class Nest {
 public:
  // Over so many channels of x.
  Nest(const Tensor& x, int64_t channels) : sizes_(sizes_of(x, channels)) {}

  // An operand in a tensor's memory, `step` of whose channels are one of the operand's.
  void add(RowOperand& o, const Tensor& t, int64_t step = 1) {
    operands_.push_back({&o, Sizes(t.strides().begin(), t.strides().end())});
    operands_.back().stride[1] *= step;
  }

  // Merges the dimensions (C, *S) where the strides of all operands allow it.
  RowShape merge() {
    RowShape shape;
    shape.rows = sizes_[0];
    // Views without elements may have strides of any kind.
    if (c10::multiply_integers(sizes_) == 0) {
      shape.n[2] = c10::multiply_integers(at::IntArrayRef(sizes_).slice(1));
      return shape;
    }
    int64_t n[3] = {1, 1, 1};
    int last = -1;
    for (size_t d = 1; d < sizes_.size(); ++d) {
      if (sizes_[d] == 1) continue;
      bool extends = last >= 0;
      for (const Member& m : operands_)
        extends = extends && m.merged[last] == m.stride[d] * sizes_[d];
      if (!extends) ++last;
      TORCH_INTERNAL_ASSERT(last < 3);
      n[last] = extends ? n[last] * sizes_[d] : sizes_[d];
      for (Member& m : operands_) m.merged[last] = m.stride[d];
    }
    const int shift = 2 - (last < 0 ? 0 : last);  // right-align: the longest run is innermost
    for (const Member& m : operands_) {
      int64_t* const to = m.operand->stride;
      to[0] = m.stride[0];
      for (int d = 0; d <= last; ++d) to[1 + d + shift] = m.merged[d];
      if (last < 0) to[3] = 1;
    }
    for (int d = 0; d <= last; ++d) shape.n[d + shift] = n[d];
    return shape;
  }

 private:
  struct Member {
    RowOperand* operand;
    Sizes stride;
    int64_t merged[3] = {};
  };
  Sizes sizes_;
  c10::SmallVector<Member, 8> operands_;
};

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

// Which channels a coupling maps, and which it copies: `step` apart, from these on.
struct Split {
  int64_t coupled, kept;  // numbers of channels
  int64_t coupled_at, kept_at, step;
};
inline Split split(const Tensor& x, int64_t coupled, Transform transform) {
  const int64_t kept = x.size(1) - coupled;
  switch (transform) {
    case Transform::first:
      return {coupled, kept, 0, coupled, 1};
    case Transform::second:
      return {coupled, kept, kept, 0, 1};
    case Transform::even:
      return {coupled, kept, 0, 1, 2};
    case Transform::odd:
      return {coupled, kept, 1, 0, 2};
  }
  return {};
}

// How many channels are coupled, where the transform alone says it.
inline void check_coupled(const char* op, const Tensor& x, int64_t coupled, Transform transform) {
  const bool even = transform == Transform::even;
  if (!even && transform != Transform::odd) return;
  const int64_t expected = (x.size(1) + even) / 2;
  TORCH_CHECK_VALUE(coupled == expected, op, ": `params` must be of the ", expected,
                    " channels that transform '", even ? "even" : "odd", "' maps of `x` of shape ",
                    x.sizes(), ", got those of ", coupled);
}

// A log-det has a number a row, or one for each mapped element.
inline Sizes log_det_sizes(const Tensor& x, int64_t coupled, bool sums_rows) {
  if (sums_rows) return {x.size(0)};
  return sizes_of(x, coupled);
}

// Sets the operands and the shape of the channels that are copied from one tensor to another.
inline RowShape copied(const Split& h, const Tensor& from_tensor, RowOperand& from,
                       const Tensor& to_tensor, RowOperand& to) {
  Nest nest(from_tensor, h.kept);
  from = operand(from_tensor, h.kept_at);
  to = operand(to_tensor, h.kept_at);
  nest.add(from, from_tensor, h.step);
  nest.add(to, to_tensor, h.step);
  return nest.merge();
}

}  // namespace channels
}  // namespace bindings
}  // namespace fk
