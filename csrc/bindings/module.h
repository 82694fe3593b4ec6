// What every op's bindings share: schema, autograd and the direct entry, all of which follow from
// the op's Spec.
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

#include <torch/library.h>

#include <string>

#include "autograd.h"
#include "entry.h"
#include "kernels.h"

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

// ---- ops ------------------------------------------------------------------------------

#define FK_DIFFERENTIABLE_OP_BY(Spec, autograd)                                          \
  FK_LIBRARY_FRAGMENT(m) { define_differentiable<Spec>(m); }                             \
  TORCH_LIBRARY_IMPL(flowkernels, Autograd, m) { register_autograd<Spec>(m, autograd); } \
  static const Direct<&Op<Spec>::call> direct_##Spec(Spec::name);
#define FK_DIFFERENTIABLE_OP(Spec) FK_DIFFERENTIABLE_OP_BY(Spec, &Op<Spec>::autograd)

// An op of others, which `run` consists of.
#define FK_COMPOSITE_OP(name, schema, run)                                                 \
  FK_LIBRARY_FRAGMENT(m) {                                                                 \
    m.def(schema, {at::Tag::pt2_compliant_tag});                                           \
    m.impl(name, c10::DispatchKey::CompositeImplicitAutograd, run);                        \
  }                                                                                        \
  TORCH_LIBRARY_IMPL(flowkernels, FuncTorchBatchedDecomposition, m) { m.impl(name, run); } \
  static const Direct<run> direct_composite(name);

}  // namespace bindings
}  // namespace fk
