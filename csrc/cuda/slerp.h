// CUDA kernels of slerp.
#pragma once

#include "../args/slerp.h"
#include "queue.h"

namespace fk {
namespace cuda {

// Of at least one point a pair.
void slerp_forward(const SlerpArgs& a, const Queue& queue);
void slerp_backward(const SlerpArgs& a, const Queue& queue);

}  // namespace cuda
}  // namespace fk
