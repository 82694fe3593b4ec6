// CUDA kernels of log_det_diagonal.
#pragma once

#include "../args/log_det.h"
#include "../engine/cuda/context.h"

namespace fk {
namespace cuda {

// In how many parts to sum each row, so that few long rows fill the device.
int64_t log_det_parts(const LogDetArgs& a, const LaunchContext& context);

// With parts > 1 `sums` is a scratch of (rows, parts) elements of the dtype of the log-det.
void log_det_forward(const LogDetArgs& a, int64_t parts, void* sums, const LaunchContext& context);
void log_det_backward(const LogDetArgs& a, int64_t parts, const LaunchContext& context);

}  // namespace cuda
}  // namespace fk
