// CPU kernels of rational_quadratic_spline.
#pragma once

#include "../args/rational_quadratic_spline.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

// Work items are (row, part) pairs, row-major: [begin, end) of rows * parts.
FK_DECLARE_KERNEL(rational_quadratic_spline_forward,
                  void(const RationalQuadraticSplineArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(rational_quadratic_spline_backward,
                  void(const RationalQuadraticSplineArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
