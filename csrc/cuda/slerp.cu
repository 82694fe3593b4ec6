// slerp and its pullback: row programs.
#include "slerp.h"

#include "../engine/cuda/row_kernel.h"
#include "slerp_program.h"

namespace fk {
namespace cuda {

void slerp_forward(const SlerpArgs& a, const LaunchContext& context) {
  a.float64 ? run_rows<SlerpProgram<double, false>, double>(a, {}, context)
            : run_rows<SlerpProgram<float, false>, float>(a, {}, context);
}
void slerp_backward(const SlerpArgs& a, const LaunchContext& context) {
  a.float64 ? run_rows<SlerpProgram<double, true>, double>(a, {}, context)
            : run_rows<SlerpProgram<float, true>, float>(a, {}, context);
}

}  // namespace cuda
}  // namespace fk
