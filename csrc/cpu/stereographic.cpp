// The stereographic maps and their pullbacks.
#include "stereographic.h"

#include "../engine/cpu/rows.h"
#include "../ops/stereographic.h"

FK_BEGIN
namespace loops {

template <template <class> class Program>
void stereographic(const StereographicArgs& a, int64_t begin, int64_t end) {
  run_rows<Program>(a, nullptr, begin, end);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
namespace impl = fk::FK_ISA;
FK_REGISTER_KERNEL(stereographic_forward, impl::loops::stereographic<impl::StereographicForward>);
FK_REGISTER_KERNEL(stereographic_backward, impl::loops::stereographic<impl::StereographicBackward>);
FK_REGISTER_KERNEL(stereographic_inverse_forward,
                   impl::loops::stereographic<impl::StereographicInverseForward>);
FK_REGISTER_KERNEL(stereographic_inverse_backward,
                   impl::loops::stereographic<impl::StereographicInverseBackward>);
}  // namespace cpu
}  // namespace fk
