// flowkernels._C: the ops' direct entries and the facts of the build.
#include "module.h"

#include <ATen/Parallel.h>
#include <torch/version.h>

#include "../cpu/dispatch.h"

namespace fk {
namespace bindings {

// One line per op.
#define FK_FOR_EACH_OP(X) \
  X(affine_coupling)      \
  X(affine_coupling_mlp)  \
  X(bessel)               \
  X(bessel_tables)        \
  X(identity_split)       \
  X(log_det)              \
  X(mlp)                  \
  X(slerp)                \
  X(stereographic)        \
  X(tangent_normal)       \
  X(vmf)                  \
  X(vmf_sample)           \
  X(numpy)

#define FK_DECLARE_BIND(op) void bind_##op(pybind11::module_&);
FK_FOR_EACH_OP(FK_DECLARE_BIND)
#undef FK_DECLARE_BIND

std::vector<std::string>& op_names() {
  static std::vector<std::string> names;
  return names;
}

namespace {

pybind11::dict build_info() {
  pybind11::dict info;
  pybind11::list compiled;
  for (int i = 0; i < static_cast<int>(cpu::Isa::count); ++i)
    if (cpu::isa_compiled(static_cast<cpu::Isa>(i)))
      compiled.append(cpu::isa_name(static_cast<cpu::Isa>(i)));
  pybind11::list ops;
  for (const std::string& name : op_names()) ops.append(name);
  info["ops"] = ops;
  info["torch"] = TORCH_VERSION;
  info["compiler"] = __VERSION__;
  info["cpu_isa"] = cpu::isa_name(cpu::isa());
  info["cpu_isas_compiled"] = compiled;
  return info;
}

}  // namespace
}  // namespace bindings
}  // namespace fk

PYBIND11_MODULE(_C, m) {
  using namespace fk::bindings;
  m.doc() = "Compiled kernels of flowkernels; use flowkernels.ops.";
  m.def("build_info", &build_info);
#define FK_BIND(op) bind_##op(m);
  FK_FOR_EACH_OP(FK_BIND)
#undef FK_BIND
}
