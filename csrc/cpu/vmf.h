// CPU kernels of vmf_log_prob and stereographic_vmf_log_prob.
#pragma once

#include "../args/vmf.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

// Over blocks [begin, end); both return whether no concentration was negative.
FK_DECLARE_KERNEL(vmf_forward, bool(const VmfArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(vmf_backward, bool(const VmfArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
