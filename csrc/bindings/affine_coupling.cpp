// affine_coupling: CPU dispatch.
#include "affine_coupling.h"

#include "../cpu/affine_coupling.h"
#include "map_cpu.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace affine_coupling {
namespace {

struct Cpu {
  using Map = coupling::Map;
  static constexpr auto& forward_kernel = cpu::affine_coupling_forward;
  static constexpr auto& backward_kernel = cpu::affine_coupling_backward;
  static constexpr int64_t part = 32768;
  static constexpr bool counts_parameters = false;
  template <class... O>
  static coupling::Options parse(O... options) {
    return coupling::parse(options...);
  }
};

}  // namespace

FK_DIFFERENTIABLE_OP(AffineCoupling)
FK_KERNELS(AffineCoupling, CPU, MapCpu<Cpu>)

}  // namespace affine_coupling
}  // namespace bindings
}  // namespace fk
