// CUDA kernels of rational_quadratic_spline.
#pragma once

#include "../args/rational_quadratic_spline.h"
#include "../engine/cuda/context.h"

namespace fk {
namespace cuda {

// a.log_det has an element for each transformed one; where rows are summed it is a scratch,
// (rows, elements of a row), whose sums go to `log_det`.
void rational_quadratic_spline_forward(const RationalQuadraticSplineArgs& a, void* log_det,
                                       const LaunchContext& context);
void rational_quadratic_spline_backward(const RationalQuadraticSplineArgs& a,
                                        const LaunchContext& context);

}  // namespace cuda
}  // namespace fk
