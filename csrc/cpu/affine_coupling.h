// CPU kernels of affine_coupling.
#pragma once

#include "../args/affine_coupling.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

// Work items are (row, part) pairs, row-major: [begin, end) of rows * parts.
FK_DECLARE_KERNEL(affine_coupling_forward, void(const AffineCouplingArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(affine_coupling_backward, void(const AffineCouplingArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
