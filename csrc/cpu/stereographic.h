// CPU kernels of stereographic and stereographic_inverse.
#pragma once

#include "../args/stereographic.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

FK_DECLARE_KERNEL(stereographic_forward, void(const StereographicArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(stereographic_backward, void(const StereographicArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(stereographic_inverse_forward, void(const StereographicArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(stereographic_inverse_backward, void(const StereographicArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
