// flowkernels._C: the ops' direct entries, the facts of the build, and NumPy's face.
#include "module.h"

#include <pybind11/stl.h>
#include <torch/version.h>

#include <set>
#include <string>
#include <vector>

#include "../args/affine_coupling.h"
#include "../args/rational_quadratic_spline.h"
#include "../bindings/bessel_function.h"
#include "../bindings/entry.h"
#include "../cpu/dispatch.h"
#include "../cpu/mlp.h"

namespace fk {
namespace python {
namespace {

pybind11::dict build_info() {
  pybind11::dict info;
  pybind11::list compiled;
  for (int i = 0; i < static_cast<int>(cpu::Isa::count); ++i)
    if (cpu::isa_compiled(static_cast<cpu::Isa>(i)))
      compiled.append(cpu::isa_name(static_cast<cpu::Isa>(i)));
  std::set<std::string> ops;
  for (const bindings::Entry& entry : bindings::entries()) ops.insert(entry.name);
  info["ops"] = std::vector<std::string>(ops.begin(), ops.end());
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
  all["bessel"] = pybind11::tuple(pybind11::cast(bindings::bessel_names()));
  return all;
}

}  // namespace
}  // namespace python
}  // namespace fk

PYBIND11_MODULE(_C, m) {
  using namespace fk::python;
  m.doc() = "Compiled kernels of flowkernels; use flowkernels.ops.";
  m.def("build_info", &build_info);
  m.def("options", &options);
  add_entries(m);
  add_numpy(m);
  add_bessel_tables(m);
  // For the fake kernels: rows that `mlp_rows` keeps are padded to whole vectors.
  m.def("mlp_lanes", [](bool float64) { return fk::cpu::mlp_lanes(float64); });
  m.attr("mlp_widest") = fk::mlp_widest;
}
