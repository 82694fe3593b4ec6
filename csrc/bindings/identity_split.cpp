// identity_split: the half of its input that a coupling keeps, and the input, as one graph node.
//
// The gradient of torch's slice is as large as its input, zero but for the half, and autograd
// adds it to the coupling's. Here the half's gradient is added to the coupling's in place.
#include "identity_split.h"

#include <ATen/Functions.h>
#include <torch/csrc/autograd/VariableTypeUtils.h>

#include "check.h"
#include "module.h"
#include "option.h"
#include "plain.h"

namespace fk {
namespace bindings {
namespace {

using std::string_view;
constexpr const char* op = "identity_split";

struct IdentitySplitBackward : Node {
  Channels kept;

  std::string name() const override { return "identity_split_backward"; }
  variable_list apply(variable_list&& grads) override {
    return {
        add_channels(std::move(grads[1]), grads[0], kept, input_metadata(1).shape_as_dim_vector())};
  }
};

// Whether nobody else sees a gradient's memory: what autograd asks before it adds in place.
bool is_held_once(const Tensor& grad) {
  return grad.use_count() == 1 && grad.storage().use_count() == 1 &&
         grad.is_non_overlapping_and_dense();
}

std::tuple<Tensor, Tensor> in_one_node(const Tensor& x, const Channels& kept) {
  auto node = make_node<IdentitySplitBackward>();
  node->kept = kept;
  node->set_next_edges(torch::autograd::collect_next_edges(x));
  // Views like torch.split's: to change one in place is an error.
  const auto as_output = [&](const Tensor& view) {
    Tensor out = torch::autograd::as_view(x, view, /*is_bw_differentiable=*/true,
                                          /*is_fw_differentiable=*/true, nullptr, nullptr,
                                          torch::autograd::CreationMeta::MULTI_OUTPUT_NODE);
    torch::autograd::set_history(out, node);
    return out;
  };
  const auto [half, whole] = [&] {
    at::AutoDispatchBelowADInplaceOrView below;
    return std::tuple(channels_of(x, kept), at::alias(x));
  }();
  Tensor first = as_output(half);
  return {std::move(first), as_output(whole)};
}

}  // namespace

std::tuple<Tensor, Tensor> identity_split(const Tensor& x, c10::SymInt coupled,
                                          string_view transform) {
  check_dense(op, "x", x);
  TORCH_CHECK_VALUE(x.dim() >= 2, op, ": `x` must have shape (B, C, *S), got ", x.sym_sizes());
  const auto kept = kept_channels(op, x, coupled, transform);
  if (at::GradMode::is_enabled() && x.requires_grad() && is_plain(x) && nobody_watches())
    return in_one_node(x, expect_int(kept));
  return {x.slice_symint(1, kept.start, kept.end, kept.step), at::alias(x)};
}

ChannelRange<c10::SymInt> kept_channels(const char* op, const Tensor& x, const c10::SymInt& coupled,
                                        string_view transform) {
  const c10::SymInt channels = x.sym_size(1);
  TORCH_CHECK_VALUE(coupled >= 0 && coupled <= channels, op, ": `coupled` must be from 0 to ",
                    channels, ", the channels of `x`, got ", coupled);
  const Transform which = parse_option<Transform>(op, "transform", transform);
  switch (which) {
    case Transform::first:
      return {coupled, channels, 1};
    case Transform::second:
      return {0, channels - coupled, 1};
    case Transform::even:
    case Transform::odd:
      break;
  }
  const int64_t even = which == Transform::even;
  const c10::SymInt expected = (channels + even) / 2;
  TORCH_CHECK_VALUE(coupled == expected, op, ": `coupled` must be ", expected,
                    ", the channels that transform '", transform, "' maps of `x` of shape ",
                    x.sym_sizes(), ", got ", coupled);
  return {even, channels, 2};
}

Tensor add_channels(Tensor grad, const Tensor& of_channels, const Channels& channels,
                    c10::SymIntArrayRef sizes) {
  if (!of_channels.defined()) return grad;
  const auto whole = [&] {
    return at::slice_backward_symint(of_channels, sizes, 1, channels.start, channels.end,
                                     channels.step);
  };
  if (!grad.defined()) return whole();
  if (runs_plainly(of_channels, grad) && is_held_once(grad)) {
    at::AutoDispatchBelowADInplaceOrView below;
    channels_of(grad, channels).add_(of_channels);
    return grad;
  }
  return grad.add(whole());
}

FK_COMPOSITE_OP(
    op, "identity_split(Tensor(a) x, SymInt coupled, str transform) -> (Tensor(a), Tensor(a))",
    &identity_split)

}  // namespace bindings
}  // namespace fk
