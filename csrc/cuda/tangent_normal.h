// CUDA kernels of tangent_normal.
#pragma once

#include "../args/tangent_normal.h"
#include "../engine/cuda/context.h"

namespace fk {
namespace cuda {

// How many rows' gradients in loc to add up in one piece: TangentNormalArgs::block_rows.
int64_t tangent_normal_block(const TangentNormalArgs& a, const LaunchContext& context);

void tangent_normal_forward(const TangentNormalArgs& a, const LaunchContext& context);
void tangent_normal_backward(const TangentNormalArgs& a, const LaunchContext& context);

}  // namespace cuda
}  // namespace fk
