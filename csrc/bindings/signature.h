// Facts about an op that follow from the type of its forward, `Spec::Signature`.
#pragma once

#include <ATen/core/Tensor.h>

#include <tuple>
#include <type_traits>
#include <utility>

namespace fk {
namespace bindings {

using at::Tensor;

template <class A>
constexpr bool is_tensor = std::is_same_v<std::decay_t<A>, Tensor>;

template <size_t>
using TensorAt = Tensor;
template <size_t>
using TensorArgument = const Tensor&;
template <class I>
struct TensorTuple;
template <size_t... I>
struct TensorTuple<std::index_sequence<I...>> {
  using type = std::tuple<TensorAt<I>...>;
};
template <>
struct TensorTuple<std::index_sequence<0>> {
  using type = Tensor;
};

template <class R>
constexpr size_t output_count = 1;
template <class... T>
constexpr size_t output_count<std::tuple<T...>> = sizeof...(T);

template <class Signature>
struct SignatureFacts;
template <class R, class... A>
struct SignatureFacts<R(A...)> {
  using Result = R;
  static constexpr size_t inputs = (size_t{is_tensor<A>} + ...);  // tensors
  static constexpr size_t outputs = output_count<R>;
  // What the backward returns: a gradient for each tensor argument.
  using Gradients = typename TensorTuple<std::make_index_sequence<inputs>>::type;
};

template <class Spec>
using Facts = SignatureFacts<typename Spec::Signature>;

}  // namespace bindings
}  // namespace fk
