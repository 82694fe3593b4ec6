// vmf_sample_cosine: argument checks and the kernels' arguments, for every device.
#pragma once

#include <ATen/Functions.h>

#include <memory>
#include <tuple>

#include "../args/vmf_sample.h"
#include "bessel_plan.h"
#include "random.h"

namespace fk {
namespace bindings {

// concentration of the shape of the result, seed, dim, and whether slopes are wanted.
struct VmfSampleCosine {
  static constexpr const char* name = "vmf_sample_cosine";
  static constexpr const char* arguments =
      "Tensor concentration, Tensor seed, int dim, bool slopes";
  using Signature = std::tuple<Tensor, Tensor, Tensor, Tensor>(const Tensor&, const Tensor&,
                                                               int64_t, bool);
};

namespace vmf_sample {

struct Call {
  static constexpr const char* op = VmfSampleCosine::name;
  Tensor kappa, seed, cosine, sine, slope, bend;
  std::shared_ptr<const BesselPlan<double>> plan;
  VmfSampleCosineArgs args;

  Call(const Tensor& concentration, const Tensor& seed_, int64_t dim, bool slopes) {
    check_floating(op, "concentration", concentration);
    TORCH_CHECK_VALUE(dim >= 2, op, ": `dim` must be >= 2 (the sphere lies in R^dim), got ", dim);
    seed = seed_.contiguous();
    args.random = row_seeds(op, seed, "concentration", concentration, concentration.sizes());
    args.rows = concentration.numel();
    args.dim = dim;
    kappa = concentration.reshape({args.rows});
    args.kappa = {kappa.data_ptr(), cpu_dtype(kappa.scalar_type()), kappa.stride(0), 1};
    const auto options = concentration.options().dtype(wide(concentration.scalar_type()));
    args.wide = cpu_dtype(wide(concentration.scalar_type()));
    cosine = at::empty(concentration.sizes(), options);
    sine = at::empty(concentration.sizes(), options);
    slope = at::empty(slopes ? concentration.sizes() : at::IntArrayRef{0}, options);
    bend = at::empty_like(slope);
    args.cosine = cosine.data_ptr();
    args.sine = sine.data_ptr();
    args.slope = slope.data_ptr();
    args.bend = bend.data_ptr();
    if (slopes) args.plan = (plan = bessel_plan<double>(0.5 * static_cast<double>(dim) - 1)).get();
  }
};

}  // namespace vmf_sample
}  // namespace bindings
}  // namespace fk
