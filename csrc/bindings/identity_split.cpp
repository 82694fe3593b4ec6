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
  int64_t start;

  std::string name() const override { return "identity_split_backward"; }
  variable_list apply(variable_list&& grads) override {
    return {add_channels(std::move(grads[1]), grads[0], start,
                         input_metadata(1).shape_as_dim_vector())};
  }
};

// Whether nobody else sees a gradient's memory: what autograd asks before it adds in place.
bool is_held_once(const Tensor& grad) {
  return grad.use_count() == 1 && grad.storage().use_count() == 1 &&
         grad.is_non_overlapping_and_dense();
}

std::tuple<Tensor, Tensor> in_one_node(const Tensor& x, int64_t start, int64_t length) {
  auto node = make_node<IdentitySplitBackward>();
  node->start = start;
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
    return std::tuple(at::narrow(x, 1, start, length), at::alias(x));
  }();
  Tensor kept = as_output(half);
  return {std::move(kept), as_output(whole)};
}

}  // namespace

std::tuple<Tensor, Tensor> identity_split(const Tensor& x, c10::SymInt coupled,
                                          string_view transform) {
  check_dense(op, "x", x);
  TORCH_CHECK_VALUE(x.dim() >= 2, op, ": `x` must have shape (B, C, *S), got ", x.sym_sizes());
  TORCH_CHECK_VALUE(coupled >= 0 && coupled <= x.sym_size(1), op, ": `coupled` must be from 0 to ",
                    x.sym_size(1), ", the channels of `x`, got ", coupled);
  const bool first = parse_option<Transform>(op, "transform", transform) == Transform::first;
  const c10::SymInt length = x.sym_size(1) - coupled, start = first ? coupled : 0;
  if (at::GradMode::is_enabled() && x.requires_grad() && is_plain(x) && nobody_watches())
    return in_one_node(x, start.expect_int(), length.expect_int());
  return {x.narrow_symint(1, start, length), at::alias(x)};
}

Tensor add_channels(Tensor grad, const Tensor& of_channels, int64_t start,
                    c10::SymIntArrayRef sizes) {
  if (!of_channels.defined()) return grad;
  const c10::SymInt end = start + of_channels.sym_size(1);
  if (!grad.defined()) return at::slice_backward_symint(of_channels, sizes, 1, start, end, 1);
  if (runs_plainly(of_channels, grad) && is_held_once(grad)) {
    at::AutoDispatchBelowADInplaceOrView below;
    grad.narrow(1, start, of_channels.size(1)).add_(of_channels);
    return grad;
  }
  return grad.add(at::slice_backward_symint(of_channels, sizes, 1, start, end, 1));
}

FK_COMPOSITE_OP(
    op, "identity_split(Tensor(a) x, SymInt coupled, str transform) -> (Tensor(a), Tensor(a))",
    &identity_split, ([](const Tensor& x, int64_t coupled, string_view transform) {
      return identity_split(x, coupled, transform);
    }))

}  // namespace bindings
}  // namespace fk
