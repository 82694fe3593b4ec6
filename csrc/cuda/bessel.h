// CUDA kernels of the Bessel family.
#pragma once

#include "../args/bessel.h"
#include "../engine/cuda/context.h"

namespace fk {
namespace cuda {

// n elements; NaN where the CPU kernels report an argument outside the domain, for a GPU
// cannot raise without being waited for.
void bessel_forward(const BesselArgs& a, int64_t n, const LaunchContext& context);
void bessel_backward(const BesselArgs& a, int64_t n, const LaunchContext& context);

}  // namespace cuda
}  // namespace fk
