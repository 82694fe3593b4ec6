// What every op's bindings share with the module: schema definition and the direct
// Python entry.  The list of ops is in module.cpp.
#pragma once

#include <torch/csrc/utils/pybind.h>
#include <torch/library.h>

#include <string>
#include <vector>

#include "autograd.h"

#define FK_LIBRARY_FRAGMENT(m) TORCH_LIBRARY_FRAGMENT(flowkernels, m)

namespace fk {
namespace bindings {

// The four entries of a differentiable op (see autograd.h).
inline void define_differentiable(torch::Library& m, const std::string& name,
                                  const std::string& arguments, const std::string& grads,
                                  const std::string& returns, const std::string& gradients) {
  const std::string forward = "(" + arguments + ") -> " + returns;
  const std::string backward = "(" + grads + ", " + arguments + ") -> " + gradients;
  m.def((name + forward).c_str(), {at::Tag::pt2_compliant_tag});
  m.def((name + "_backward" + backward).c_str(), {at::Tag::pt2_compliant_tag});
  m.def((name + "_reference" + forward).c_str());
  m.def((name + "_backward_reference" + backward).c_str());
}

// The names of all ops bound so far.
std::vector<std::string>& op_names();

// `_C.<name>(...)`: the dispatcher without the boxing of torch.ops, for eager calls.
template <class Spec>
void bind_op(pybind11::module_& m) {
  op_names().emplace_back(Spec::name);
  m.def(Spec::name, &Op<Spec>::call, pybind11::call_guard<pybind11::gil_scoped_release>());
}

}  // namespace bindings
}  // namespace fk
