// One differentiable op out of two kernels and two formulas.
//
// An op `f(args...)` of the library has four dispatcher entries:
//
//   f                     the fused forward kernel        (one per device)
//   f_backward            the fused backward kernel, f_backward(grads..., args...)
//   f_composite           the op in plain torch   (python_ops/composite)
//   f_backward_composite  the same for the backward
//
// First-order reverse mode, the hot path, runs the fused kernels through a graph
// node of our own: unlike torch::autograd::Function, a node is what torch's own
// ops use, so torch.func transforms see through it.  Wherever a derivative of the
// derivative or a forward-mode tangent is wanted, the plain formulas run instead
// and torch differentiates those, to any order and in any mode.
//
// Every tensor argument is differentiable; f_backward returns one gradient for each.
#pragma once

#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/library.h>
#include <torch/version.h>

#include <string>
#include <vector>

#include "signature.h"

namespace fk {
namespace bindings {

using torch::autograd::Node;
using torch::autograd::SavedVariable;
using torch::autograd::variable_list;

// ---- what is saved of an argument ----------------------------------------------

template <class A>
struct Saved {
  std::conditional_t<std::is_same_v<std::decay_t<A>, std::string_view>, std::string,
                     std::decay_t<A>>
      value;
  explicit Saved(const std::decay_t<A>& v) : value(v) {}
  const auto& unpack() { return value; }
  void release() {}
};
template <>
struct Saved<const Tensor&> {
  SavedVariable value;
  explicit Saved(const Tensor& v) : value(v, /*is_output=*/false) {}
  Tensor unpack() { return value.unpack(); }
  void release() { value.reset_data(); }
};

template <>
struct Saved<at::IntArrayRef> {
  std::vector<int64_t> value;
  explicit Saved(at::IntArrayRef v) : value(v.vec()) {}
  at::IntArrayRef unpack() { return value; }
  void release() {}
};

// Nodes are held by intrusive pointers from torch 2.13 on, by shared ones before.
using NodePointer = decltype(torch::autograd::Edge::function);

template <class N, class... A>
auto make_node(A&&... args) {
  if constexpr (std::is_same_v<NodePointer, std::shared_ptr<Node>>) {
    // torch's deleter of nodes (found by argument): it does not recurse down long graphs.
    return std::shared_ptr<N>(new N(std::forward<A>(args)...), [](N* n) { deleteNode(n); });
  } else {
    return c10::make_intrusive<N>(std::forward<A>(args)...);
  }
}

// ---- small facts about argument lists --------------------------------------------

template <class A>
bool tracks_gradient(const A& a) {
  if constexpr (is_tensor<A>) return a.defined() && a.requires_grad();
  return false;
}
template <class A>
bool has_tangent(const A& a) {
  if constexpr (is_tensor<A>) return a.defined() && a._fw_grad(0).defined();
  return false;
}
template <class A>
void append_tensor(variable_list& list, const A& a) {
  if constexpr (is_tensor<A>) list.push_back(a);
}

inline variable_list as_list(Tensor t) { return {std::move(t)}; }
template <class... T>
variable_list as_list(std::tuple<T...> t) {
  return std::apply([](auto&... each) { return variable_list{std::move(each)...}; }, t);
}

// ---- the op ----------------------------------------------------------------------

// Spec::name is the op's name, Spec::Signature the type of its forward.
template <class Spec, class Signature>
struct OpImpl;

template <class Spec, class R, class... A>
struct OpImpl<Spec, R(A...)> {
  using Forward = R(A...);
  static constexpr size_t inputs = Facts<Spec>::inputs, outputs = Facts<Spec>::outputs;
  using Gradients = typename Facts<Spec>::Gradients;

  template <class I>
  struct WithGrads;
  template <size_t... I>
  struct WithGrads<std::index_sequence<I...>> {
    using Backward = Gradients(TensorArgument<I>..., A...);

    static auto backward_handle(const char* suffix) {
      return c10::Dispatcher::singleton()
          .findSchemaOrThrow((std::string("flowkernels::") + Spec::name + suffix).c_str(), "")
          .template typed<Backward>();
    }
    static const auto& backward() {
      static const auto handle = backward_handle("_backward");
      return handle;
    }
    static const auto& backward_composite() {
      static const auto handle = backward_handle("_backward_composite");
      return handle;
    }

    struct BackwardNode : Node {
      std::tuple<Saved<A>...> saved;

      explicit BackwardNode(A... args) : saved(Saved<A>(args)...) {}

      std::string name() const override { return std::string(Spec::name) + "_backward"; }
      void release_variables() override {
        std::apply([](auto&... s) { (s.release(), ...); }, saved);
      }
      variable_list apply(variable_list&& grads) override {
        for (size_t i = 0; i < outputs; ++i)
          if (!grads[i].defined()) grads[i] = this->input_metadata(i).zeros_like();
        auto run = [&] {
          return std::apply(
              [&](auto&... s) { return as_list(backward().call(grads[I]..., s.unpack()...)); },
              saved);
        };
        // With create_graph the backward must itself be differentiable.
        if (at::GradMode::is_enabled()) return run();
        at::AutoDispatchBelowADInplaceOrView below;
        return run();
      }
    };

    static Gradients backward_autograd(TensorArgument<I>... grads, A... args) {
      const bool tracked = at::GradMode::is_enabled() &&
                           ((tracks_gradient(grads) || ...) || (tracks_gradient(args) || ...));
      if (tracked || (has_tangent(grads) || ...) || (has_tangent(args) || ...))
        return backward_composite().call(grads..., args...);
      at::AutoDispatchBelowADInplaceOrView below;
      return backward().call(grads..., args...);
    }
  };
  using Grads = WithGrads<std::make_index_sequence<outputs>>;

  static const auto& handle() {
    static const auto h =
        c10::Dispatcher::singleton()
            .findSchemaOrThrow((std::string("flowkernels::") + Spec::name).c_str(), "")
            .template typed<Forward>();
    return h;
  }
  static const auto& composite() {
    static const auto h =
        c10::Dispatcher::singleton()
            .findSchemaOrThrow((std::string("flowkernels::") + Spec::name + "_composite").c_str(),
                               "")
            .template typed<Forward>();
    return h;
  }

  // The op as Python calls it in eager mode: straight to the dispatcher.
  static R call(A... args) { return handle().call(args...); }

  static R autograd(A... args) {
    if ((has_tangent(args) || ...)) return composite().call(args...);
    return record(args...);
  }

  // The fused kernel, and the node of its gradient where one is wanted.
  static R record(A... args) {
    const bool tracked = at::GradMode::is_enabled() && (tracks_gradient(args) || ...);
    if (!tracked) {
      at::AutoDispatchBelowADInplaceOrView below;
      return handle().call(args...);
    }
    auto node = make_node<typename Grads::BackwardNode>(args...);
    variable_list inputs_list;
    inputs_list.reserve(inputs);
    (append_tensor(inputs_list, args), ...);
    node->set_next_edges(torch::autograd::collect_next_edges(inputs_list));
    R result = [&] {
      at::AutoDispatchBelowADInplaceOrView below;
      return handle().call(args...);
    }();
    if constexpr (outputs == 1) {
      torch::autograd::set_history(result, node);
    } else {
      std::apply([&](auto&... out) { (torch::autograd::set_history(out, node), ...); }, result);
    }
    return result;
  }
};

template <class Spec>
using Op = OpImpl<Spec, typename Spec::Signature>;

// Registers the autograd kernels of an op; in a TORCH_LIBRARY_IMPL(.., Autograd, m).
template <class Spec>
void register_autograd(torch::Library& m, typename Spec::Signature* forward) {
  m.impl(Spec::name, forward);
  m.impl((std::string(Spec::name) + "_backward").c_str(), &Op<Spec>::Grads::backward_autograd);
}

}  // namespace bindings
}  // namespace fk
