// CPU kernels of log_det_diagonal.
#pragma once

#include "../args/log_det.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

// Work items are rows: [begin, end).
FK_DECLARE_KERNEL(log_det_forward, void(const LogDetArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(log_det_backward, void(const LogDetArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
