// CUDA kernels of stereographic and stereographic_inverse.
#pragma once

#include "../args/stereographic.h"
#include "queue.h"

namespace fk {
namespace cuda {

void stereographic_forward(const StereographicArgs& a, const Queue& queue);
void stereographic_backward(const StereographicArgs& a, const Queue& queue);
void stereographic_inverse_forward(const StereographicArgs& a, const Queue& queue);
void stereographic_inverse_backward(const StereographicArgs& a, const Queue& queue);

}  // namespace cuda
}  // namespace fk
