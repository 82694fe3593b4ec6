// CPU kernels of tangent_normal.
#pragma once

#include "../args/tangent_normal.h"
#include "dispatch.h"

namespace fk {
namespace cpu {

// Over blocks of vmf_block_rows rows.
FK_DECLARE_KERNEL(tangent_normal_forward, void(const TangentNormalArgs&, int64_t, int64_t));
FK_DECLARE_KERNEL(tangent_normal_backward, void(const TangentNormalArgs&, int64_t, int64_t));

}  // namespace cpu
}  // namespace fk
