// CUDA kernel of vmf_sample_cosine.
#pragma once

#include "../args/vmf_sample.h"
#include "../engine/cuda/context.h"

namespace fk {
namespace cuda {

// NaN where a concentration is negative: a GPU cannot raise without being waited for.
void vmf_sample_cosine(const VmfSampleCosineArgs& a, const LaunchContext& context);

}  // namespace cuda
}  // namespace fk
