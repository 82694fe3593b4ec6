// CUDA kernels of slerp.
#pragma once

#include "../args/slerp.h"
#include "../engine/cuda/context.h"

namespace fk {
namespace cuda {

// Of at least one point a pair.
void slerp_forward(const SlerpArgs& a, const LaunchContext& context);
void slerp_backward(const SlerpArgs& a, const LaunchContext& context);

}  // namespace cuda
}  // namespace fk
