// vmf_mixture_log_prob and vmf_mixture_statistics: argument checks, and the walk over blocks of
// points, for every device.
//
// A block takes torch's matrix product of its points with the locations, the kernel, and the
// products of the sums or gradients that are wanted.  The (points, components) matrix of the
// responsibilities is in memory only where it is asked for.
#pragma once

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>
#include <tuple>
#include <vector>

#include "../ops/vmf_mixture.h"
#include "autograd.h"
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

inline void check(const char* op, const Tensor& x, const Tensor& locs,
                  const Tensor& concentrations, const Tensor& log_weights) {
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

// What a call makes, or is given, of its points; undefined where it has no use for it.
struct PointTensors {
  Tensor log_prob;    // (points)
  Tensor log_r;       // (points, components)
  Tensor grad;        // (points): the gradients of log_prob, or weights
  Tensor grad_log_r;  // (points, components)
  Tensor grad_x;      // (points, p)
};
// Sums over points of the gradients of the logits: alone, times x.loc - 1, and times x.
struct Sums {
  Tensor counts, along, with_x;
};

// `Machine` runs the kernel (see vmf_mixture.cpp).
template <class Machine>
class Mixture {
 public:
  const int64_t points, dim, components;
  const at::TensorOptions options;  // of the computation
  const Tensor x, locs, kappa64;

  Mixture(const char* op, const Tensor& x_, const Tensor& locs_, const Tensor& concentrations,
          const Tensor& log_weights)
      : points((check(op, x_, locs_, concentrations, log_weights),
                c10::multiply_integers(x_.sizes().slice(0, x_.dim() - 1)))),
        dim(x_.size(-1)),
        components(locs_.size(0)),
        options(x_.options().dtype(wide(x_.scalar_type()))),
        x(x_.reshape({points, dim})),
        locs(in_dtype(locs_, wide(x_.scalar_type()))),
        kappa64(concentrations.to(at::kDouble)),
        dtype_(wide(x_.scalar_type())),
        machine_(x_) {
    const Tensor offset = radial("vmf_log_peak") + log_weights.to(at::kDouble);
    const Tensor largest = offset.max();
    common_ = at::where(largest.isfinite(), largest, at::zeros_like(largest));
    offset_ = (offset - common_).to(dtype_);
    kappa_ = kappa64.to(dtype_).contiguous();
    block_ = Machine::block(components, dim, static_cast<int64_t>(at::elementSize(dtype_)));
    blocks_ = (points + block_ - 1) / block_;
  }

  // A function of every concentration.
  Tensor radial(std::string_view function) const {
    return Op<Bessel>::call(kappa64, 0.5 * static_cast<double>(dim) - 1, function);
  }
  Tensor empty(at::IntArrayRef sizes) const { return at::empty(sizes, options); }

  void run(const PointTensors& given) const {
    const int64_t parts = std::min<int64_t>(blocks_, 256);
    machine_.for_parts(parts, [&](int64_t part) { run_part(given, part, parts, nullptr); });
  }
  // The same with sums, in float64; of `along` only for gradients.
  Sums sum(const PointTensors& given, bool with_along) const {
    const int64_t parts = Machine::parts(blocks_, components * dim);
    std::vector<Sums> each(static_cast<size_t>(parts));
    for (Sums& s : each) {
      s.counts = zeros({components});
      s.with_x = zeros({components, dim});
      if (with_along) s.along = zeros({components});
    }
    machine_.for_parts(parts, [&](int64_t part) {
      run_part(given, part, parts, &each[static_cast<size_t>(part)]);
    });
    for (size_t i = 1; i < each.size(); ++i) {
      each[0].counts += each[i].counts;
      each[0].with_x += each[i].with_x;
      if (with_along) each[0].along += each[i].along;
    }
    return each[0];
  }

 private:
  // Points that are added up in the dtype of the computation before they go to float64.
  static constexpr int64_t flushed_points = 1024;

  Tensor zeros(at::IntArrayRef sizes) const {
    return at::zeros(sizes, options.dtype(at::kDouble));
  }
  // Columns for a block of points.  A line more than the block: with a stride that is a power of
  // two the rows would share few sets of the cache.
  Tensor matrix() const { return empty({components, block_ + 16}); }

  void run_part(const PointTensors& given, int64_t part, int64_t parts, Sums* sums) const {
    // torch's ops below autograd and autocast, on whatever thread.
    at::AutoDispatchBelowADInplaceOrView below;
    c10::impl::ExcludeDispatchKeyGuard without_autocast(c10::autocast_dispatch_keyset);

    const bool gradients = given.grad.defined();
    const Tensor products = matrix();
    const Tensor out = gradients || given.log_r.defined() ? matrix() : Tensor();
    const Tensor grad_log_r = given.grad_log_r.defined() ? matrix() : Tensor();
    const Tensor scaled = given.grad_x.defined() ? locs * kappa_.unsqueeze(1) : Tensor();
    const Tensor ones = sums != nullptr ? at::ones({block_}, options) : Tensor();
    Tensor with_x = sums != nullptr ? at::zeros({components, dim}, options) : Tensor();
    int64_t held = 0;

    VmfMixtureArgs args;
    args.components = components;
    args.stride = products.stride(0);
    args.wide = cpu_dtype(dtype_);
    args.products = products.const_data_ptr();
    args.kappa = kappa_.const_data_ptr();
    args.offset = offset_.const_data_ptr();
    args.common = common_.const_data_ptr<double>();
    if (out.defined()) args.out = out.data_ptr();
    if (grad_log_r.defined()) args.grad_log_r = grad_log_r.const_data_ptr();
    if (sums != nullptr && sums->along.defined()) args.along = products.data_ptr();

    for (int64_t b = blocks_ * part / parts; b < blocks_ * (part + 1) / parts; ++b) {
      const int64_t first = b * block_, n = std::min(block_, points - first);
      const auto rows = [&](const Tensor& t) { return t.narrow(0, first, n); };
      const auto columns = [&](const Tensor& m) { return m.narrow(1, 0, n); };
      const Tensor xs = in_dtype(rows(x), dtype_);
      Tensor of_block = columns(products);
      at::mm_out(of_block, locs, xs.t());
      if (grad_log_r.defined()) columns(grad_log_r).copy_(rows(given.grad_log_r).t());
      args.points = n;
      if (given.log_prob.defined()) args.log_prob = rows(given.log_prob).data_ptr();
      if (gradients) args.grad = rows(given.grad).const_data_ptr();
      machine_.run(args);
      if (given.log_r.defined()) rows(given.log_r).copy_(columns(out).t());
      if (given.grad_x.defined()) {
        Tensor grad_x = rows(given.grad_x);
        if (grad_x.scalar_type() == dtype_) {
          at::mm_out(grad_x, columns(out).t(), scaled);
        } else {
          grad_x.copy_(at::mm(columns(out).t(), scaled));
        }
      }
      if (sums == nullptr) continue;
      sums->counts += at::mv(columns(out), ones.narrow(0, 0, n));
      if (sums->along.defined())
        sums->along += at::mv(columns(products), ones.narrow(0, 0, n));
      at::addmm_out(with_x, with_x, columns(out), xs, held > 0 ? 1 : 0);
      held += n;
      if (held < flushed_points) continue;
      sums->with_x += with_x;
      held = 0;
    }
    if (held > 0) sums->with_x += with_x;
  }

  const at::ScalarType dtype_;
  const Machine machine_;
  Tensor common_, offset_, kappa_;
  int64_t block_, blocks_;
};

}  // namespace vmf_mixture
}  // namespace bindings
}  // namespace fk
