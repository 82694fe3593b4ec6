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
constexpr int64_t mixture_along_rows =
    24;  // of at most so many rows long points are multiplied along theirs
constexpr int64_t mixture_padded(int64_t n) {
  return (n + mixture_padding - 1) / mixture_padding * mixture_padding;
}

// Pointers are null where a call has no use for what they point to.  What has no dtype of its own
// is of `points.wide`.
struct VmfMixtureCall {
  VmfMixtureArgs points;  // of all points; its matrices are the kernel's affair
  int64_t dim = 0;
  RowView x;
  const void* locs = nullptr;    // (rows, dim), whose products with x the points' matrices hold
  void* log_r = nullptr;         // (points, components)
  RowView grad_log_r;            // (points, components), of `points.wide`
  const void* scaled = nullptr;  // (rows, padded dim): what x is multiplied by, of each logit
  void* grad_x = nullptr;        // (points, dim), of the dtype of x

  // A row for each component; with the statistics' gradients another for each.
  int64_t rows() const { return points.components * (points.weights == nullptr ? 1 : 2); }
  // Whether points are multiplied along their rows, and then where they are.
  bool along_rows() const { return dim > mixture_slab && rows() <= mixture_along_rows; }
  bool in_place() const { return along_rows() && x.dtype == points.wide && x.stride == 1; }
  // From a row of the kernel's copies to the next: no power of two.
  int64_t copied() const {
    const int64_t elements = in_place() || dim < points.components ? points.components : dim;
    return mixture_padded(elements) + mixture_padding;
  }
};
// Sums over a range of points, each added to what is there.
struct VmfMixtureSums {
  double* counts = nullptr;  // (components): of the gradients of the logits
  double* along = nullptr;   // (components): times x.loc - 1; or null
  double* with_x = nullptr;  // (components, padded dim): times x
};

namespace cpu {

// The elements of `points.wide` that a call works in.
inline int64_t vmf_mixture_room(const VmfMixtureCall& call) {
  const int64_t components = call.points.components, dim = call.dim;
  const int64_t slab = dim < mixture_slab ? dim : mixture_slab;
  const int64_t matrices = slab + components + 2 * call.rows() + call.copied();
  return matrices * mixture_strip + components * mixture_padded(dim);
}
// Points [begin, end); `sums` is null where none are wanted.
FK_DECLARE_KERNEL(vmf_mixture,
                  void(const VmfMixtureCall&, int64_t, int64_t, const VmfMixtureSums*, void*));

}  // namespace cpu
}  // namespace fk
