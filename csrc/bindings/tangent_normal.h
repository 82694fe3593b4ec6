// tangent_normal: argument checks and the kernels' arguments, for every device.
#pragma once

#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>

#include <tuple>
#include <vector>

#include "random.h"
#include "vmf.h"

namespace fk {
namespace bindings {

struct TangentNormal {
  static constexpr const char* name = "tangent_normal";
  static constexpr const char* arguments = "Tensor loc, Tensor cosine, Tensor sine, Tensor seed";
  static constexpr const char* gradients = "Tensor grad";
  using Signature = Tensor(const Tensor&, const Tensor&, const Tensor&, const Tensor&);
};

namespace tangent_normal {

// One call's arguments, checked and laid out; keeps alive what the kernel points to.
struct Call {
  static constexpr const char* op = TangentNormal::name;
  vmf::Rows cosine, sine;
  Tensor loc, seed, grad, result, grad_loc, grad_cosine, grad_sine;
  TangentNormalArgs args;

  Call(const Tensor& loc_, const Tensor& cosine_, const Tensor& sine_, const Tensor& seed_) {
    check(loc_, cosine_, sine_);
    seed = seed_.contiguous();
    args.random = row_seeds(op, seed, "cosine", cosine_, cosine_.sizes());
    args.rows = cosine_.numel();
    args.dim = loc_.size(-1);
    args.wide = cpu_dtype(wide(loc_.scalar_type()));
    lay_out_loc(loc_, cosine_.sizes());
    cosine = vmf::rows_of(cosine_.unsqueeze(-1), cosine_.sizes());
    sine = vmf::rows_of(sine_.unsqueeze(-1), cosine_.sizes());
    args.cosine = cosine.operand;
    args.sine = sine.operand;
  }

  static void check(const Tensor& loc, const Tensor& cosine, const Tensor& sine) {
    check_floating(op, "loc", loc);
    check_floating(op, "cosine", cosine);
    check_floating(op, "sine", sine);
    check_same_device(op, "cosine", cosine, "loc", loc);
    check_same_device(op, "sine", sine, "loc", loc);
    bindings::check_precision(op, "cosine", cosine, "loc", loc);
    bindings::check_precision(op, "sine", sine, "loc", loc);
    TORCH_CHECK_VALUE(loc.dim() >= 1 && loc.size(-1) >= 2, op,
                      ": `loc` must have shape (*batch, p) with p >= 2, got ", loc.sizes());
    TORCH_CHECK_VALUE(sine.sizes() == cosine.sizes(), op,
                      ": `sine` must have the shape of `cosine` ", cosine.sizes(), ", got ",
                      sine.sizes());
    const auto batch = batch_of(loc);
    bool fits = batch.size() <= cosine.sizes().size();
    for (size_t i = 1; fits && i <= batch.size(); ++i)
      fits = batch[batch.size() - i] == 1 ||
             batch[batch.size() - i] == cosine.sizes()[cosine.sizes().size() - i];
    TORCH_CHECK_VALUE(fits, op, ": the batch of `loc` ", batch,
                      " does not broadcast to the shape of `cosine` ", cosine.sizes());
  }

  // loc repeats with the leading dimensions that it lacks, and is expanded in the others.
  void lay_out_loc(const Tensor& loc_, at::IntArrayRef shape) {
    const auto batch = batch_of(loc_);
    size_t lacks = 0;
    while (lacks < batch.size() && batch[lacks] == 1) ++lacks;
    const auto own = shape.slice(shape.size() - (batch.size() - lacks));
    auto sizes = own.vec();
    sizes.push_back(args.dim);
    args.loc_rows = c10::multiply_integers(own);
    loc = loc_.reshape(loc_.sizes().slice(lacks)).expand(sizes).reshape({args.loc_rows, args.dim});
    args.loc = {loc.data_ptr(), cpu_dtype(loc.scalar_type()), loc.stride(0), loc.stride(1)};
  }

  int64_t blocks() const { return (args.rows + args.block_rows - 1) / args.block_rows; }

  void prepare_forward(const Tensor& loc_, const Tensor& cosine_) {
    result = at::empty(out_sizes(cosine_), loc_.options());
    args.out = {result.data_ptr(), cpu_dtype(result.scalar_type()), args.dim, 1};
  }

  std::vector<int64_t> out_sizes(const Tensor& cosine_) const {
    auto sizes = cosine_.sizes().vec();
    sizes.push_back(args.dim);
    return sizes;
  }

  void set_grad(const Tensor& grad_, const Tensor& loc_, const Tensor& cosine_) {
    check_gradient(op, "grad", grad_, out_sizes(cosine_), loc_.scalar_type(), loc_);
    grad = grad_.reshape({args.rows, args.dim});
    args.grad = {grad.data_ptr(), cpu_dtype(grad.scalar_type()), grad.stride(0), grad.stride(1)};
    args.sum_grad_loc = args.loc_rows == 1;
  }

  void prepare_backward(const Tensor& loc_, const Tensor& cosine_) {
    const auto compute = loc_.options().dtype(wide(loc_.scalar_type()));
    grad_cosine = at::empty(cosine_.sizes(), compute);
    grad_sine = at::empty(cosine_.sizes(), compute);
    args.grad_cosine = grad_cosine.data_ptr();
    args.grad_sine = grad_sine.data_ptr();
    grad_loc = at::empty({args.sum_grad_loc ? blocks() : args.rows, args.dim}, compute);
    args.grad_loc = grad_loc.data_ptr();
  }

  // In the shapes and dtypes of the arguments, after the kernel has run.
  std::tuple<Tensor, Tensor, Tensor, Tensor> gradients(const Tensor& loc_, const Tensor& cosine_,
                                                       const Tensor& sine_,
                                                       const Tensor& seed_) const {
    const Tensor of_loc = args.sum_grad_loc
                              ? grad_loc.sum(0).reshape(loc_.sizes())
                              : at::sum_to(grad_loc.reshape(out_sizes(cosine_)), loc_.sizes());
    return {of_loc.to(loc_.scalar_type()), grad_cosine.to(cosine_.scalar_type()),
            grad_sine.to(sine_.scalar_type()), at::zeros_like(seed_)};
  }
};

}  // namespace tangent_normal
}  // namespace bindings
}  // namespace fk
