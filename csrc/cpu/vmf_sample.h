// CPU kernel of vmf_sample_cosine.
#pragma once

#include "../args/vmf_sample.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

// Over rows; false where a concentration is negative.
FK_DECLARE_KERNEL(vmf_sample_cosine, bool(const VmfSampleCosineArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
