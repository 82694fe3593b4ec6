// vmf_log_prob and stereographic_vmf_log_prob: argument checks and the kernels' arguments,
// for every device.
#pragma once

#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>

#include <algorithm>
#include <memory>
#include <tuple>
#include <vector>

#include "../args/vmf.h"
#include "batch.h"
#include "bessel_plan.h"
#include "check.h"
#include "sum_rows.h"

namespace fk {
namespace bindings {

// x, loc, concentration, and whether the gradient in loc is wanted: autograd sets it.
using LogProbSignature = Tensor(const Tensor&, const Tensor&, const Tensor&, bool);
struct VmfLogProb {
  static constexpr const char* name = "vmf_log_prob";
  static constexpr const char* arguments =
      "Tensor x, Tensor loc, Tensor concentration, bool grad_loc";
  static constexpr const char* gradients = "Tensor grad";
  static constexpr const char* point = "x";
  static constexpr bool stereographic = false;
  using Signature = LogProbSignature;
};
struct StereographicVmfLogProb {
  static constexpr const char* name = "stereographic_vmf_log_prob";
  static constexpr const char* arguments =
      "Tensor z, Tensor loc, Tensor concentration, bool grad_loc";
  static constexpr const char* gradients = "Tensor grad";
  static constexpr const char* point = "z";
  static constexpr bool stereographic = true;
  using Signature = LogProbSignature;
};

namespace vmf {

// Rows of a (*batch, n) tensor for kernels; a tensor without batch is one row for all.
struct Rows {
  Tensor kept;
  RowView operand;
};
inline Rows rows_of(const Tensor& t, at::IntArrayRef batch) {
  Rows r{t, {}};
  const int64_t n = t.size(-1);
  if (t.numel() == n) {
    r.kept = t.reshape({n});
    r.operand.stride = r.kept.stride(0);
  } else {
    auto sizes = batch.vec();
    sizes.push_back(n);
    r.kept = t.expand(sizes).reshape({c10::multiply_integers(batch), n});
    r.operand.row_stride = r.kept.stride(0);
    r.operand.stride = r.kept.stride(1);
  }
  r.operand.base = r.kept.data_ptr();
  r.operand.dtype = cpu_dtype(r.kept.scalar_type());
  return r;
}

// One call's arguments, checked and laid out; keeps alive what the kernel points to.
template <class Spec>
struct Call {
  static constexpr const char* op = Spec::name;
  std::vector<int64_t> batch;
  Rows x, loc, kappa;
  VmfArgs args;
  Tensor result, grad, grad_x, grad_loc, grad_kappa;
  std::shared_ptr<const BesselPlan<float>> single;
  std::shared_ptr<const BesselPlan<double>> twofold;

  Call(const Tensor& x_, const Tensor& loc_, const Tensor& kappa_) {
    check(x_, loc_, kappa_);
    batch = at::infer_size(at::infer_size(batch_of(x_), batch_of(loc_)), kappa_.sizes());
    x = rows_of(x_, batch);
    loc = rows_of(loc_, batch);
    kappa = rows_of(kappa_.unsqueeze(-1), batch);
    args.rows = c10::multiply_integers(batch);
    args.dim = loc_.size(-1);
    args.stereographic = Spec::stereographic;
    args.x = x.operand;
    args.loc = loc.operand;
    args.kappa = kappa.operand;
    args.wide = cpu_dtype(wide(x_.scalar_type()));
    const double order = 0.5 * static_cast<double>(args.dim) - 1;
    args.log_uniform = log_uniform_density(static_cast<double>(args.dim));
    if (args.wide == DType::f64) {
      args.plan = (twofold = bessel_plan<double>(order)).get();
    } else {
      args.plan = (single = bessel_plan<float>(order)).get();
    }
  }

  static void check(const Tensor& x, const Tensor& loc, const Tensor& kappa) {
    check_floating(op, Spec::point, x);
    check_floating(op, "loc", loc);
    check_floating(op, "concentration", kappa);
    check_same_device(op, "loc", loc, Spec::point, x);
    check_same_device(op, "concentration", kappa, Spec::point, x);
    bindings::check_precision(op, "loc", loc, Spec::point, x);
    bindings::check_precision(op, "concentration", kappa, Spec::point, x);
    const int64_t extra = Spec::stereographic ? 1 : 0;
    TORCH_CHECK_VALUE(x.dim() >= 1 && x.size(-1) + extra >= 2, op, ": `", Spec::point,
                      "` must have shape (*batch, ",
                      Spec::stereographic ? "d) with d >= 1" : "p) with p >= 2", ", got ",
                      x.sizes());
    TORCH_CHECK_VALUE(loc.dim() >= 1 && loc.size(-1) == x.size(-1) + extra, op,
                      ": `loc` must have shape (*batch, ", x.size(-1) + extra, ") for `",
                      Spec::point, "` of shape ", x.sizes(), ", got ", loc.sizes());
    TORCH_CHECK_VALUE(broadcastable(batch_of(x), batch_of(loc)), op, ": the batch of `loc` ",
                      batch_of(loc), " does not broadcast against that of `", Spec::point, "` ",
                      batch_of(x));
    const auto both = at::infer_size(batch_of(x), batch_of(loc));
    TORCH_CHECK_VALUE(broadcastable(both, kappa.sizes()), op, ": `concentration` of shape ",
                      kappa.sizes(), " does not broadcast against the batch ",
                      at::IntArrayRef(both));
  }
  static bool broadcastable(at::IntArrayRef a, at::IntArrayRef b) {
    for (size_t i = 1; i <= std::min(a.size(), b.size()); ++i) {
      const int64_t m = a[a.size() - i], n = b[b.size() - i];
      if (m != n && m != 1 && n != 1) return false;
    }
    return true;
  }

  int64_t blocks() const { return (args.rows + args.block_rows - 1) / args.block_rows; }

  void prepare_forward(const Tensor& x_) {
    result = at::empty(batch, x_.options().dtype(wide(x_.scalar_type())));
    args.out = result.data_ptr();
  }

  void prepare_backward(const Tensor& grad_, const Tensor& x_, const Tensor& loc_, bool want_loc) {
    const auto compute = x_.options().dtype(wide(x_.scalar_type()));
    check_gradient(op, "grad", grad_, batch, wide(x_.scalar_type()), x_);
    grad = grad_.reshape({args.rows});
    args.grad = {grad.data_ptr(), cpu_dtype(grad.scalar_type()), grad.stride(0), 1};
    grad_x = at::empty(with_event(x_), x_.options());
    grad_kappa = at::empty(batch, compute);
    args.grad_x = grad_x.data_ptr();
    args.grad_kappa = grad_kappa.data_ptr();
    if (!want_loc) return;
    args.sum_grad_loc = loc_.numel() == loc_.size(-1);
    grad_loc = args.sum_grad_loc ? at::empty({blocks(), loc_.size(-1)}, compute)
                                 : at::empty(with_event(loc_), compute);
    args.grad_loc = grad_loc.data_ptr();
  }

  // The gradients in the shapes and dtypes of the arguments, after the kernel has run.
  std::tuple<Tensor, Tensor, Tensor> gradients(const Tensor& x_, const Tensor& loc_,
                                               const Tensor& kappa_) const {
    const auto fit = [](const Tensor& grad, const Tensor& like) {
      if (grad.sizes() == like.sizes() && grad.scalar_type() == like.scalar_type()) return grad;
      return at::sum_to(grad, like.sizes()).to(like.scalar_type());
    };
    return {fit(grad_x, x_),
            !grad_loc.defined() ? at::zeros(loc_.sizes(), loc_.options())
            : args.sum_grad_loc ? sum_rows(grad_loc, loc_)
                                : fit(grad_loc, loc_),
            kappa_.numel() == 1 ? sum_rows(grad_kappa, kappa_) : fit(grad_kappa, kappa_)};
  }

  std::vector<int64_t> with_event(const Tensor& t) const {
    auto sizes = batch;
    sizes.push_back(t.size(-1));
    return sizes;
  }
};

}  // namespace vmf
}  // namespace bindings
}  // namespace fk
