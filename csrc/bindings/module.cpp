// flowkernels._C: the ops' direct entries and the facts of the build.
#include "module.h"

#include <ATen/Parallel.h>
#include <torch/version.h>

#include <algorithm>

#include "../args/affine_coupling.h"
#include "../args/rational_quadratic_spline.h"
#include "../cpu/dispatch.h"
#include "bessel_function.h"

namespace fk {
namespace bindings {

std::vector<Binder>& binders() {
  static std::vector<Binder> list;
  return list;
}

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
  std::sort(op_names().begin(), op_names().end());
  for (const std::string& name : op_names()) ops.append(name);
  info["ops"] = ops;
  info["torch"] = TORCH_VERSION;
  info["compiler"] = __VERSION__;
  info["cpu_isa"] = cpu::isa_name(cpu::isa());
  info["cpu_isas_compiled"] = compiled;
  return info;
}

template <class Option>
pybind11::tuple names() {
  return pybind11::cast(std::vector<std::string>(std::begin(OptionNames<Option>::names),
                                                 std::end(OptionNames<Option>::names)));
}

// The values of every option that is given by name.
pybind11::dict options() {
  pybind11::dict all;
  all["scale_fn"] = names<ScaleFn>();
  all["layout"] = names<Layout>();
  all["order"] = names<Order>();
  all["transform"] = names<Transform>();
  all["activation"] = names<Activation>();
  all["reduction"] = names<Reduction>();
  all["boundary"] = names<SplineBoundary>();
  all["convention"] = names<SplineConvention>();
  all["bessel"] = pybind11::tuple(pybind11::cast(bessel_names()));
  return all;
}

}  // namespace
}  // namespace bindings
}  // namespace fk

PYBIND11_MODULE(_C, m) {
  using namespace fk::bindings;
  m.doc() = "Compiled kernels of flowkernels; use flowkernels.ops.";
  m.def("build_info", &build_info);
  m.def("options", &options);
  for (const Binder binder : binders()) binder(m);
}
