// An op's kernels on one kind of device, registered from its Spec.
//
// `Kernels` has static templates `forward` and `backward` that take the arguments of the schema;
// the types are those of the Spec's signature.
#pragma once

#include <torch/library.h>

#include <string>

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

#define FK_KERNELS(Spec, key, Kernels) \
  TORCH_LIBRARY_IMPL(flowkernels, key, m) { implement<Spec, Kernels>(m); }

}  // namespace bindings
}  // namespace fk
