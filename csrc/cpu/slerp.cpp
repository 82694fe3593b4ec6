// Spherical linear interpolation and its pullback.
#include "slerp.h"

#include "../engine/cpu/rows.h"
#include "../ops/slerp.h"

FK_BEGIN
namespace loops {

template <template <class> class Program>
void slerp(const SlerpArgs& a, int64_t begin, int64_t end) {
  run_rows<Program>(a, nullptr, begin, end);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
namespace impl = fk::FK_ISA;
FK_REGISTER_KERNEL(slerp_forward, impl::loops::slerp<impl::SlerpForward>);
FK_REGISTER_KERNEL(slerp_backward, impl::loops::slerp<impl::SlerpBackward>);
}  // namespace cpu
}  // namespace fk
