// What every op's bindings share with the module: schema, autograd and the direct Python entry,
// all of which follow from the op's Spec.
//
//   struct Foo {
//     static constexpr const char* name = "foo";
//     static constexpr const char* arguments = "Tensor x, float bound";  // of the schema
//     static constexpr const char* gradients = "Tensor grad_y";  // in front, of foo_backward
//     using Signature = Tensor(const Tensor&, double);
//   };
//   FK_DIFFERENTIABLE_OP(Foo)        // in foo.cpp, once
//   FK_KERNELS(Foo, CPU, Kernels)    // for every device; `Kernels` has forward and backward
#pragma once

#include <torch/csrc/utils/pybind.h>
#include <torch/library.h>

#include <string>
#include <vector>

#include "autograd.h"
#include "kernels.h"
#include "scalars.h"

#define FK_LIBRARY_FRAGMENT(m) TORCH_LIBRARY_FRAGMENT(flowkernels, m)

namespace fk {
namespace bindings {

// ---- schema --------------------------------------------------------------------

// `count` tensors in a schema's returns.
inline std::string tensors(size_t count) {
  if (count == 1) return "Tensor";
  std::string list = "(Tensor";
  for (size_t i = 1; i < count; ++i) list += ", Tensor";
  return list + ")";
}

// An op, and its formula in plain torch.
inline void define(torch::Library& m, const std::string& name, const std::string& schema) {
  m.def((name + schema).c_str(), {at::Tag::pt2_compliant_tag});
  m.def((name + "_composite" + schema).c_str());
}

// The four entries of a differentiable op (see autograd.h).
template <class Spec>
void define_differentiable(torch::Library& m) {
  const std::string arguments = Spec::arguments, grads = Spec::gradients, name = Spec::name;
  define(m, name, "(" + arguments + ") -> " + tensors(Facts<Spec>::outputs));
  define(m, name + "_backward",
         "(" + grads + ", " + arguments + ") -> " + tensors(Facts<Spec>::inputs));
  refuse_other_layouts<Spec>(m);
  refuse_other_layouts_backward<Spec>(m);
}

// ---- the Python module ------------------------------------------------------------

// What the module consists of; every op adds itself when the library is loaded.
using Binder = void (*)(pybind11::module_&);
std::vector<Binder>& binders();
struct Bound {
  explicit Bound(Binder binder) { binders().push_back(binder); }
};
// The names of all ops bound so far.
std::vector<std::string>& op_names();

// `_C.<name>(...)`: the dispatcher without the boxing of torch.ops, for eager calls.
template <class Spec>
void bind_op(pybind11::module_& m) {
  op_names().emplace_back(Spec::name);
  m.def(Spec::name, &FromPython<typename Spec::Signature>::template call<&Op<Spec>::call>,
        pybind11::call_guard<pybind11::gil_scoped_release>());
}

#define FK_DIFFERENTIABLE_OP_BY(Spec, autograd)                                          \
  FK_LIBRARY_FRAGMENT(m) { define_differentiable<Spec>(m); }                             \
  TORCH_LIBRARY_IMPL(flowkernels, Autograd, m) { register_autograd<Spec>(m, autograd); } \
  static const Bound bound_##Spec(&bind_op<Spec>);
#define FK_DIFFERENTIABLE_OP(Spec) FK_DIFFERENTIABLE_OP_BY(Spec, &Op<Spec>::autograd)

// An op of others, from `run` and, for Python, `direct`.
#define FK_COMPOSITE_OP(name, schema, run, direct)                                         \
  FK_LIBRARY_FRAGMENT(m) {                                                                 \
    m.def(schema, {at::Tag::pt2_compliant_tag});                                           \
    m.impl(name, c10::DispatchKey::CompositeImplicitAutograd, run);                        \
  }                                                                                        \
  TORCH_LIBRARY_IMPL(flowkernels, FuncTorchBatchedDecomposition, m) { m.impl(name, run); } \
  static const Bound bound_composite([](pybind11::module_& m) {                            \
    op_names().emplace_back(name);                                                         \
    m.def(name, direct, pybind11::call_guard<pybind11::gil_scoped_release>());             \
  });

}  // namespace bindings
}  // namespace fk
