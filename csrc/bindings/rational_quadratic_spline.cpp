// rational_quadratic_spline: CPU dispatch.
#include "rational_quadratic_spline.h"

#include "../cpu/rational_quadratic_spline.h"
#include "map_cpu.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace rational_quadratic_spline {
namespace {

struct Cpu {
  using Map = spline::Map;
  static constexpr auto& forward_kernel = cpu::rational_quadratic_spline_forward;
  static constexpr auto& backward_kernel = cpu::rational_quadratic_spline_backward;
  static constexpr int64_t part = 4096;
  static constexpr bool counts_parameters = true;
  template <class... O>
  static spline::Options parse(O... options) {
    return spline::parse(options...);
  }
};

}  // namespace

FK_DIFFERENTIABLE_OP(RationalQuadraticSpline)
FK_KERNELS(RationalQuadraticSpline, CPU, MapCpu<Cpu>)

}  // namespace rational_quadratic_spline
}  // namespace bindings
}  // namespace fk
