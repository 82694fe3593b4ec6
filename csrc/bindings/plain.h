// Where an op that consists of others may put a graph node of its own in their place.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include "autograd.h"

namespace fk {
namespace bindings {

// Neither a subclass, nor in a transform, nor a view whose elements are negated when they are read:
// kernels take it as it lies in memory.
inline bool is_plain(const Tensor& t) {
  using c10::DispatchKey;
  constexpr c10::DispatchKeySet other({DispatchKey::Python, DispatchKey::FuncTorchBatched,
                                       DispatchKey::FuncTorchGradWrapper, DispatchKey::Batched,
                                       DispatchKey::Functionalize, DispatchKey::Negative});
  return t.layout() == at::kStrided && !t.key_set().has_any(other) && !has_tangent(t);
}
// No mode that wants to see the operations.
inline bool nobody_watches() {
  using c10::DispatchKey;
  constexpr c10::DispatchKeySet modes({DispatchKey::Python, DispatchKey::PythonTLSSnapshot,
                                       DispatchKey::Tracer, DispatchKey::Functionalize,
                                       DispatchKey::FuncTorchDynamicLayerFrontMode});
  return !c10::impl::tls_local_dispatch_key_set().included_.has_any(modes);
}
// Whether a transform of torch.func, or forward-mode differentiation, sees the tensor.
inline bool in_transform(const Tensor& t) {
  using c10::DispatchKey;
  constexpr c10::DispatchKeySet wrapped(
      {DispatchKey::FuncTorchBatched, DispatchKey::FuncTorchGradWrapper, DispatchKey::Batched});
  return t.key_set().has_any(wrapped) || has_tangent(t) ||
         c10::impl::tls_local_dispatch_key_set().included_.has(
             DispatchKey::FuncTorchDynamicLayerFrontMode);
}
// Whether a node's backward may call kernels and change what it owns: no graph of the gradients
// is wanted, and nothing but these tensors' values.
template <class... T>
bool runs_plainly(const T&... tensors) {
  return !at::GradMode::is_enabled() && nobody_watches() && (is_plain(tensors) && ...);
}

}  // namespace bindings
}  // namespace fk
