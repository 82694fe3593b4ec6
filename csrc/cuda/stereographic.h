// CUDA kernels of stereographic and stereographic_inverse.
#pragma once

#include "../args/stereographic.h"
#include "../engine/cuda/context.h"

namespace fk {
namespace cuda {

void stereographic_forward(const StereographicArgs& a, const LaunchContext& context);
void stereographic_backward(const StereographicArgs& a, const LaunchContext& context);
void stereographic_inverse_forward(const StereographicArgs& a, const LaunchContext& context);
void stereographic_inverse_backward(const StereographicArgs& a, const LaunchContext& context);

}  // namespace cuda
}  // namespace fk
