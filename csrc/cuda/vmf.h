// CUDA kernels of vmf_log_prob and stereographic_vmf_log_prob.
#pragma once

#include "../args/vmf.h"
#include "../engine/cuda/context.h"

namespace fk {
namespace cuda {

// How many rows' gradients in loc to add up in one piece: VmfArgs::block_rows.
int64_t vmf_block(const VmfArgs& a, const LaunchContext& context);

// NaN where a concentration is negative: a GPU cannot raise without being waited for.
void vmf_forward(const VmfArgs& a, const LaunchContext& context);
void vmf_backward(const VmfArgs& a, const LaunchContext& context);

}  // namespace cuda
}  // namespace fk
