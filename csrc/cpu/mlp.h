// The ReLU network on the CPU.
#pragma once

#include "../args/mlp.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

// Elements of a vector: what widths are padded to.
FK_DECLARE_KERNEL(mlp_lanes, int64_t(bool float64));
// Fills the panels of all layers: the forward's, or the backward's.
FK_DECLARE_KERNEL(mlp_pack, void(const MlpArgs&, bool backward));
// Blocks of rows [begin, end).
FK_DECLARE_KERNEL(mlp_forward, void(const MlpArgs&, int64_t begin, int64_t end));
// Chunks of rows [begin, end), into the sums of each.
FK_DECLARE_KERNEL(mlp_backward, void(const MlpArgs&, int64_t begin, int64_t end));
// The gradients out of `chunks` sums.
FK_DECLARE_KERNEL(mlp_sum, void(const MlpArgs&, int64_t chunks));

}  // namespace cpu
}  // namespace fk
