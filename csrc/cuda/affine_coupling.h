// CUDA kernels of affine_coupling.
#pragma once

#include "../args/affine_coupling.h"
#include "../engine/cuda/context.h"

namespace fk {
namespace cuda {

// In how many parts to divide each row, so that few long rows fill the device.
int64_t affine_coupling_parts(const AffineCouplingArgs& a, const LaunchContext& context);

// Where rows are summed and a.parts > 1, a.log_det is a scratch of (rows, parts) elements, whose
// sums go to `log_det`.
void affine_coupling_forward(const AffineCouplingArgs& a, void* log_det,
                             const LaunchContext& context);
void affine_coupling_backward(const AffineCouplingArgs& a, const LaunchContext& context);

}  // namespace cuda
}  // namespace fk
