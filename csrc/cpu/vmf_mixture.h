// CPU kernel of the mixtures' ops: products, densities and sums over ranges of points.
#pragma once

#include "../args/rows.h"
#include "../ops/vmf_mixture.h"
#include "dispatch.h"

namespace fk {

// Rows of matrices that vectors run along end at a multiple of this.
constexpr int64_t mixture_padding = 16;
constexpr int64_t mixture_strip = 64;  // points that are worked on together
constexpr int64_t mixture_slab = 128;  // elements of a strip's points that are transposed together
constexpr int64_t mixture_padded(int64_t n) {
  return (n + mixture_padding - 1) / mixture_padding * mixture_padding;
}

// From a row of the kernel's copies to the next: no power of two.
constexpr int64_t mixture_copied(int64_t components, int64_t dim) {
  return mixture_padded(dim < components ? components : dim) + mixture_padding;
}

// Pointers are null where a call has no use for what they point to.  What has no dtype of its own
// is of `points.wide`.
struct VmfMixtureCall {
  VmfMixtureArgs points;  // of all points; its matrices are the kernel's affair
  int64_t dim = 0;
  RowView x;
  const void* locs = nullptr;    // (components, dim)
  void* log_r = nullptr;         // (points, components)
  RowView grad_log_r;            // (points, components), of `points.wide`
  const void* scaled = nullptr;  // (components, padded dim): kappa loc
  void* grad_x = nullptr;        // (points, dim), of the dtype of x
};
// Sums over a range of points, each added to what is there.
struct VmfMixtureSums {
  double* counts = nullptr;  // (components): of the gradients of the logits
  double* along = nullptr;   // (components): times x.loc - 1; or null
  double* with_x = nullptr;  // (components, padded dim): times x
};

namespace cpu {

// The elements of `points.wide` that a call works in.
constexpr int64_t vmf_mixture_room(int64_t components, int64_t dim) {
  const int64_t slab = dim < mixture_slab ? dim : mixture_slab;
  return (slab + 3 * components + mixture_copied(components, dim)) * mixture_strip +
         components * mixture_padded(dim);
}
// Points [begin, end); `sums` is null where none are wanted.
FK_DECLARE_KERNEL(vmf_mixture,
                  void(const VmfMixtureCall&, int64_t, int64_t, const VmfMixtureSums*, void*));

}  // namespace cpu
}  // namespace fk
