// vmf_mixture_log_prob and vmf_mixture_statistics: argument checks, and what the kernels of every
// device are asked for.
//
// Points are taken in blocks: the (points, components) matrix of the responsibilities is in memory
// only where it is asked for.
#pragma once

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <tuple>
#include <vector>

#include "../ops/vmf_mixture.h"
#include "autograd.h"
#include "batch.h"
#include "bessel.h"

namespace fk {
namespace bindings {

// x (*batch, p), locs (K, p), concentrations and log weights (K), and whether the second result
// holds the responsibilities or nothing.
struct VmfMixtureLogProb {
  static constexpr const char* name = "vmf_mixture_log_prob";
  static constexpr const char* arguments =
      "Tensor x, Tensor locs, Tensor concentrations, Tensor log_weights, bool responsibilities";
  static constexpr const char* gradients = "Tensor grad_log_prob, Tensor grad_log_responsibilities";
  using Signature = std::tuple<Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&,
                                               const Tensor&, bool);
};
// log p of each point; with its weight s_n, sum_n s_n r_nk and sum_n s_n r_nk x_n, in float64.
struct VmfMixtureStatistics {
  static constexpr const char* name = "vmf_mixture_statistics";
  static constexpr const char* arguments =
      "Tensor x, Tensor locs, Tensor concentrations, Tensor log_weights, Tensor sample_weights";
  static constexpr const char* gradients =
      "Tensor grad_log_prob, Tensor grad_counts, Tensor grad_sums";
  using Signature = std::tuple<Tensor, Tensor, Tensor>(const Tensor&, const Tensor&, const Tensor&,
                                                       const Tensor&, const Tensor&);
};

namespace vmf_mixture {

inline void check(const char* op, const Tensor& x, const Tensor& locs, const Tensor& concentrations,
                  const Tensor& log_weights) {
  check_floating(op, "x", x);
  TORCH_CHECK_VALUE(x.dim() >= 1 && x.size(-1) >= 2, op,
                    ": `x` must have shape (*batch, p) with p >= 2, got ", x.sizes());
  const auto check_like_x = [&](const char* argument, const Tensor& t) {
    check_floating(op, argument, t);
    check_same_device(op, argument, t, "x", x);
    check_precision(op, argument, t, "x", x);
  };
  check_like_x("locs", locs);
  TORCH_CHECK_VALUE(locs.dim() == 2 && locs.size(0) >= 1 && locs.size(1) == x.size(-1), op,
                    ": `locs` must have shape (components, ", x.size(-1), ") for `x` of shape ",
                    x.sizes(), ", got ", locs.sizes());
  const auto check_number_each = [&](const char* argument, const Tensor& t) {
    check_like_x(argument, t);
    TORCH_CHECK_VALUE(t.dim() == 1 && t.size(0) == locs.size(0), op, ": `", argument,
                      "` must have shape (", locs.size(0), ",), a number for each row of `locs`, ",
                      "got ", t.sizes());
  };
  check_number_each("concentrations", concentrations);
  check_number_each("log_weights", log_weights);
  // A GPU would have to be waited for: its kernels give NaN instead.
  if (!concentrations.is_cpu()) return;
  const double low = concentrations.min().item<double>();
  TORCH_CHECK_VALUE(!(low < 0), op, ": `concentrations` must be >= 0, got ", low);
}

// What a call makes of its points, or is given; undefined where it has no use for it.
struct PointTensors {
  Tensor log_prob;    // (points)
  Tensor log_r;       // (points, components)
  Tensor grad;        // (points): the gradients of log_prob, or weights
  Tensor grad_log_r;  // (points, components)
  Tensor grad_x;      // (points, p)
  // Of the statistics' gradients, and their arguments (components) and (components, p).
  Tensor weights, grad_weights;  // (points)
  Tensor grad_counts, grad_sums;
};
// Sums over points of the gradients of the logits, in float64: alone, times x.loc - 1, and times x.
struct Sums {
  Tensor counts, along, with_x;
};

// A call's arguments, checked, as the kernels read them.
struct Parameters {
  int64_t points, dim, components;
  at::ScalarType dtype;       // of the computation
  at::TensorOptions options;  // with that dtype
  Tensor x, locs;             // (points, dim) as it came, and in the computation's dtype
  Tensor kappa64, kappa;      // the concentrations
  Tensor common, offset;      // the largest log w + log peak or 0, and the others less it

  Parameters(const char* op, const Tensor& x_, const Tensor& locs_, const Tensor& concentrations,
             const Tensor& log_weights) {
    check(op, x_, locs_, concentrations, log_weights);
    points = c10::multiply_integers(batch_of(x_));
    dim = x_.size(-1);
    components = locs_.size(0);
    dtype = wide(x_.scalar_type());
    options = x_.options().dtype(dtype);
    x = x_.reshape({points, dim});
    locs = in_dtype(locs_, dtype).contiguous();
    kappa64 = concentrations.to(at::kDouble);
    kappa = kappa64.to(dtype).contiguous();
    const Tensor peak = radial("vmf_log_peak") + log_weights.to(at::kDouble);
    common = at::nan_to_num(peak.max(), 0.0, 0.0, 0.0);
    offset = (peak - common).to(dtype);
  }

  // A function of every concentration.
  Tensor radial(std::string_view function) const {
    return Op<Bessel>::call(kappa64, 0.5 * static_cast<double>(dim) - 1, function);
  }
  Tensor empty(at::IntArrayRef sizes) const { return at::empty(sizes, options); }
  // A number for each point, as the kernels read it.
  Tensor flat(const Tensor& numbers) const {
    return in_dtype(numbers.reshape({points}), dtype).contiguous();
  }
  VmfMixtureArgs args(const PointTensors& of) const {
    VmfMixtureArgs a;
    a.components = components;
    a.wide = cpu_dtype(dtype);
    a.kappa = kappa.const_data_ptr();
    a.offset = offset.const_data_ptr();
    a.common = common.const_data_ptr<double>();
    if (of.log_prob.defined()) a.log_prob = of.log_prob.data_ptr();
    if (of.grad.defined()) a.grad = of.grad.const_data_ptr();
    if (of.weights.defined()) {
      a.weights = of.weights.const_data_ptr();
      a.grad_counts = of.grad_counts.const_data_ptr();
      a.grad_weights = of.grad_weights.data_ptr();
    }
    return a;
  }
  // What the points are multiplied by, and what the gradients of those products are.
  Tensor factors(const PointTensors& of) const { return with_sums(locs, of); }
  Tensor scaled(const PointTensors& of) const { return with_sums(locs * kappa.unsqueeze(1), of); }
  // The gradients of the four arguments.
  std::tuple<Tensor, Tensor, Tensor, Tensor> gradients(const PointTensors& of, const Sums& sums,
                                                       const Tensor& x_, const Tensor& locs_,
                                                       const Tensor& concentrations,
                                                       const Tensor& log_weights) const {
    const Tensor slope = radial("vmf_mean_resultant_complement");
    return {of.grad_x.reshape(x_.sizes()),
            (sums.with_x * kappa64.unsqueeze(1)).to(locs_.scalar_type()),
            (sums.along + slope * sums.counts).to(concentrations.scalar_type()),
            sums.counts.to(log_weights.scalar_type())};
  }

 private:
  static Tensor with_sums(const Tensor& each, const PointTensors& of) {
    return of.grad_sums.defined() ? at::cat({each, of.grad_sums}) : each;
  }
};

inline std::vector<int64_t> with_last(at::IntArrayRef batch, int64_t n) {
  auto sizes = batch.vec();
  sizes.push_back(n);
  return sizes;
}

// `Mixture` is Parameters with the kernels of a device: run(PointTensors) makes what is defined in
// it, sum(PointTensors, along) as well the sums, that of `along` if wanted.
template <class Mixture>
struct LogProb {
  template <class Spec>
  static std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& locs,
                                            const Tensor& concentrations, const Tensor& log_weights,
                                            bool responsibilities) {
    const Mixture m(Spec::name, x, locs, concentrations, log_weights);
    PointTensors of;
    of.log_prob = m.empty({m.points});
    if (responsibilities) of.log_r = m.empty({m.points, m.components});
    m.run(of);
    const auto batch = batch_of(x);
    const auto shape = with_last(batch, responsibilities ? m.components : 0);
    return {of.log_prob.reshape(batch),
            responsibilities ? of.log_r.reshape(shape) : m.empty(shape)};
  }
  template <class Spec>
  static std::tuple<Tensor, Tensor, Tensor, Tensor> backward(
      const Tensor& grad_log_prob, const Tensor& grad_log_r, const Tensor& x, const Tensor& locs,
      const Tensor& concentrations, const Tensor& log_weights, bool responsibilities) {
    const Mixture m(Spec::name, x, locs, concentrations, log_weights);
    const auto batch = batch_of(x);
    check_gradient(Spec::name, "grad_log_prob", grad_log_prob, batch, m.dtype, x);
    check_gradient(Spec::name, "grad_log_responsibilities", grad_log_r,
                   with_last(batch, responsibilities ? m.components : 0), m.dtype, x);
    PointTensors of;
    of.grad = m.flat(grad_log_prob);
    if (responsibilities) of.grad_log_r = grad_log_r.reshape({m.points, m.components});
    of.grad_x = at::empty({m.points, m.dim}, x.options());
    return m.gradients(of, m.sum(of, true), x, locs, concentrations, log_weights);
  }
};

template <class Mixture>
struct Statistics {
  template <class Spec>
  static std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& x, const Tensor& locs,
                                                    const Tensor& concentrations,
                                                    const Tensor& log_weights,
                                                    const Tensor& sample_weights) {
    const Mixture m(Spec::name, x, locs, concentrations, log_weights);
    check_weights(Spec::name, sample_weights, x);
    PointTensors of;
    of.log_prob = m.empty({m.points});
    of.grad = m.flat(sample_weights);
    Sums sums = m.sum(of, false);
    return {of.log_prob.reshape(batch_of(x)), std::move(sums.counts), std::move(sums.with_x)};
  }
  template <class Spec>
  static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward(
      const Tensor& grad_log_prob, const Tensor& grad_counts, const Tensor& grad_sums,
      const Tensor& x, const Tensor& locs, const Tensor& concentrations, const Tensor& log_weights,
      const Tensor& sample_weights) {
    const Mixture m(Spec::name, x, locs, concentrations, log_weights);
    check_weights(Spec::name, sample_weights, x);
    const auto check = [&](const char* argument, const Tensor& grad, at::IntArrayRef sizes,
                           at::ScalarType dtype) {
      check_gradient(Spec::name, argument, grad, sizes, dtype, x);
    };
    check("grad_log_prob", grad_log_prob, batch_of(x), m.dtype);
    check("grad_counts", grad_counts, {m.components}, at::kDouble);
    check("grad_sums", grad_sums, {m.components, m.dim}, at::kDouble);
    PointTensors of;
    of.grad = m.flat(grad_log_prob);
    of.weights = m.flat(sample_weights);
    of.grad_weights = m.empty({m.points});
    of.grad_counts = in_dtype(grad_counts, m.dtype).contiguous();
    of.grad_sums = in_dtype(grad_sums, m.dtype);
    of.grad_x = at::empty({m.points, m.dim}, x.options());
    const auto [of_x, of_locs, of_concentrations, of_log_weights] =
        m.gradients(of, m.sum(of, true), x, locs, concentrations, log_weights);
    const Tensor of_weights = in_dtype(of.grad_weights, sample_weights.scalar_type());
    return {of_x, of_locs, of_concentrations, of_log_weights,
            of_weights.reshape(sample_weights.sizes())};
  }

 private:
  static void check_weights(const char* op, const Tensor& weights, const Tensor& x) {
    check_floating(op, "sample_weights", weights);
    check_same_device(op, "sample_weights", weights, "x", x);
    check_precision(op, "sample_weights", weights, "x", x);
    TORCH_CHECK_VALUE(weights.sizes() == batch_of(x), op,
                      ": `sample_weights` must have the shape of the batch of `x` ", batch_of(x),
                      ", got ", weights.sizes());
  }
};

}  // namespace vmf_mixture
}  // namespace bindings
}  // namespace fk
