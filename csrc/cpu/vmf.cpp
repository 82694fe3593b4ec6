// The von Mises-Fisher densities on the sphere and on R^d.
#include "vmf.h"

#include "../engine/cpu/rows.h"
#include "../ops/vmf.h"

FK_BEGIN
namespace loops {

// Over blocks of rows.
template <template <class> class Sphere, template <class> class Latent>
bool vmf(const VmfArgs& a, int64_t begin, int64_t end) {
  const int64_t first = begin * vmf_block_rows, after = end * vmf_block_rows;
  const int64_t last = after < a.rows ? after : a.rows;
  return a.stereographic ? run_rows<Latent>(a, a.plan, first, last)
                         : run_rows<Sphere>(a, a.plan, first, last);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
namespace impl = fk::FK_ISA;
FK_REGISTER_KERNEL(vmf_forward, (impl::loops::vmf<impl::VmfForward, impl::LatentVmfForward>));
FK_REGISTER_KERNEL(vmf_backward, (impl::loops::vmf<impl::VmfBackward, impl::LatentVmfBackward>));
}  // namespace cpu
}  // namespace fk
