// The stereographic maps and their pullbacks: row programs.
#include "stereographic.h"

#include "../engine/cuda/row_kernel.h"
#include "../ops/stereographic.h"

namespace fk {
namespace cuda {
namespace {

template <template <class> class Program>
void run(const StereographicArgs& a, const LaunchContext& context) {
  a.float64 ? run_rows<Program<double>, double>(a, {}, context)
            : run_rows<Program<float>, float>(a, {}, context);
}

}  // namespace

void stereographic_forward(const StereographicArgs& a, const LaunchContext& context) {
  run<StereographicForward>(a, context);
}
void stereographic_backward(const StereographicArgs& a, const LaunchContext& context) {
  run<StereographicBackward>(a, context);
}
void stereographic_inverse_forward(const StereographicArgs& a, const LaunchContext& context) {
  run<StereographicInverseForward>(a, context);
}
void stereographic_inverse_backward(const StereographicArgs& a, const LaunchContext& context) {
  run<StereographicInverseBackward>(a, context);
}

}  // namespace cuda
}  // namespace fk
