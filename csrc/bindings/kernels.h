// An op's kernels on one kind of device, registered from its Spec.
//
// `Kernels` has static templates `forward` and `backward` that take the arguments of the schema;
// the types are those of the Spec's signature.
#pragma once

#include <torch/library.h>

#include <string>

#include "check.h"
#include "signature.h"

namespace fk {
namespace bindings {

template <class Spec, class Kernels, class Signature>
struct Implementation;
template <class Spec, class Kernels, class R, class... A>
struct Implementation<Spec, Kernels, R(A...)> {
  static R forward(A... args) { return Kernels::template forward<Spec>(args...); }

  template <class I>
  struct WithGrads;
  template <size_t... I>
  struct WithGrads<std::index_sequence<I...>> {
    static typename Facts<Spec>::Gradients backward(TensorArgument<I>... grads, A... args) {
      return Kernels::template backward<Spec>(grads..., args...);
    }
  };
};

template <class Spec, class Kernels>
void implement(torch::Library& m) {
  using Call = Implementation<Spec, Kernels, typename Spec::Signature>;
  m.impl(Spec::name, &Call::forward);
  m.impl((std::string(Spec::name) + "_backward").c_str(),
         &Call::template WithGrads<std::make_index_sequence<Facts<Spec>::outputs>>::backward);
}

// ---- what no kernel takes -----------------------------------------------------------

// The name of argument i of a schema: "Tensor x, float bound" has x and bound.
inline std::string argument_name(const std::string& arguments, size_t i) {
  size_t begin = 0;
  for (; i > 0; --i) begin = arguments.find(',', begin) + 1;
  const std::string one = arguments.substr(begin, arguments.find(',', begin) - begin);
  return one.substr(one.rfind(' ') + 1);
}

template <class... A>
void check_all_dense(const char* op, const std::string& arguments, const A&... args) {
  size_t i = 0;
  const auto look = [&](const auto& arg) {
    if constexpr (is_tensor<decltype(arg)>)
      check_dense(op, argument_name(arguments, i).c_str(), arg);
    ++i;
  };
  (look(args), ...);
}

// Kernels that say which argument is sparse, quantized or of a layout of its own.
struct Refused {
  template <class Spec, class... A>
  static typename Facts<Spec>::Result forward(const A&... args) {
    check_all_dense(Spec::name, Spec::arguments, args...);
    TORCH_CHECK_NOT_IMPLEMENTED(false, Spec::name, ": takes dense tensors only");
  }
  template <class Spec, class... A>
  static typename Facts<Spec>::Gradients backward(const A&... args) {
    const std::string name = std::string(Spec::name) + "_backward";
    check_all_dense(name.c_str(), std::string(Spec::gradients) + ", " + Spec::arguments, args...);
    TORCH_CHECK_NOT_IMPLEMENTED(false, name, ": takes dense tensors only");
  }
};

constexpr c10::DispatchKey other_layouts[] = {
    c10::DispatchKey::SparseCPU,    c10::DispatchKey::SparseCUDA,
    c10::DispatchKey::SparseCsrCPU, c10::DispatchKey::SparseCsrCUDA,
    c10::DispatchKey::QuantizedCPU, c10::DispatchKey::QuantizedCUDA,
    c10::DispatchKey::MkldnnCPU};

template <class Spec>
void refuse_other_layouts(torch::Library& m) {
  using Call = Implementation<Spec, Refused, typename Spec::Signature>;
  for (const c10::DispatchKey key : other_layouts)
    m.impl(Spec::name, torch::dispatch(key, &Call::forward));
}
template <class Spec>
void refuse_other_layouts_backward(torch::Library& m) {
  using Call = Implementation<Spec, Refused, typename Spec::Signature>;
  using Grads = typename Call::template WithGrads<std::make_index_sequence<Facts<Spec>::outputs>>;
  const std::string name = std::string(Spec::name) + "_backward";
  for (const c10::DispatchKey key : other_layouts)
    m.impl(name.c_str(), torch::dispatch(key, &Grads::backward));
}

#define FK_KERNELS(Spec, key, Kernels) \
  TORCH_LIBRARY_IMPL(flowkernels, key, m) { implement<Spec, Kernels>(m); }

}  // namespace bindings
}  // namespace fk
