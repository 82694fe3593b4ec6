// CPU kernels of slerp.
#pragma once

#include "../args/slerp.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

FK_DECLARE_KERNEL(slerp_forward, void(const SlerpArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(slerp_backward, void(const SlerpArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
