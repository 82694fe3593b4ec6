// The inverse of an autoregressive map on the CPU.
#pragma once

#include "../args/autoregressive.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

// Rows that are solved together, and elements of a vector.
FK_DECLARE_KERNEL(autoregressive_block, int64_t(bool float64));
FK_DECLARE_KERNEL(autoregressive_lanes, int64_t(bool float64));
// Elements of memory that a task needs, forward or backward.
FK_DECLARE_KERNEL(autoregressive_scratch, int64_t(const AutoregressiveArgs&, bool backward));
// Fills the panels of all layers.
FK_DECLARE_KERNEL(autoregressive_pack, void(const AutoregressiveArgs&, bool backward));
// Blocks of rows [begin, end), and chunks of blocks [begin, end) into the sums of each.
FK_DECLARE_KERNEL(affine_autoregressive_inverse,
                  void(const AffineAutoregressiveArgs&, void* scratch, int64_t begin, int64_t end));
FK_DECLARE_KERNEL(affine_autoregressive_inverse_backward,
                  void(const AffineAutoregressiveArgs&, void* scratch, int64_t begin, int64_t end));
FK_DECLARE_KERNEL(spline_autoregressive_inverse,
                  void(const SplineAutoregressiveArgs&, void* scratch, int64_t begin, int64_t end));
FK_DECLARE_KERNEL(spline_autoregressive_inverse_backward,
                  void(const SplineAutoregressiveArgs&, void* scratch, int64_t begin, int64_t end));
// The gradients out of `chunks` sums.
FK_DECLARE_KERNEL(autoregressive_sum, void(const AutoregressiveArgs&, int64_t chunks));

}  // namespace cpu
}  // namespace fk
