// CPU kernels of the Bessel family.
#pragma once

#include "../args/bessel.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

// Over elements [begin, end). Both return whether every argument lay in the domain: x >= 0
// (0 <= x <= 1 for the concentration) or NaN. x and grad are contiguous.
FK_DECLARE_KERNEL(bessel_forward, bool(const BesselArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(bessel_backward, bool(const BesselArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
