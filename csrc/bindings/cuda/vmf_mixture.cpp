// vmf_mixture_log_prob and vmf_mixture_statistics: CUDA dispatch. A block of points takes torch's
// matrix product with the locations, the kernel, and the products of what is wanted of it.
#include "../vmf_mixture.h"

#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>

#include "../kernels.h"
#include "device.h"

namespace fk {
namespace bindings {
namespace vmf_mixture {
namespace {

// torch's own ops below autograd and autocast.
struct Plainly {
  at::AutoDispatchBelowADInplaceOrView below;
  c10::impl::ExcludeDispatchKeyGuard without_autocast{c10::autocast_dispatch_keyset};
};

class Mixture : private Plainly, public Parameters {
 public:
  Mixture(const char* op, const Tensor& x, const Tensor& locs, const Tensor& concentrations,
          const Tensor& log_weights)
      : Parameters(op, x, locs, concentrations, log_weights), device_(x) {}

  void run(const PointTensors& of) const { run(of, nullptr); }
  Sums sum(const PointTensors& of, bool with_along) const {
    const auto zeros = [&](at::IntArrayRef sizes) {
      return at::zeros(sizes, options.dtype(at::kDouble));
    };
    Sums sums{zeros({components}), with_along ? zeros({components}) : Tensor(),
              zeros({components, dim})};
    run(of, &sums);
    return sums;
  }

 private:
  void run(const PointTensors& of, Sums* sums) const {
    const Tensor left = factors(of), back = of.grad_x.defined() ? scaled(of) : Tensor();
    // By 64 MiB of products.
    const int64_t size = static_cast<int64_t>(at::elementSize(dtype));
    const int64_t fit = (int64_t{1} << 26) / (left.size(0) * size) / 128 * 128;
    const int64_t block = std::min(std::max<int64_t>(fit, 4096), points);
    for (int64_t first = 0; first < points; first += block)
      run_block(of, sums, left, back, first, std::min(block, points - first));
  }

  void run_block(const PointTensors& of, Sums* sums, const Tensor& left, const Tensor& back,
                 int64_t first, int64_t n) const {
    const auto rows = [&](const Tensor& t) { return t.narrow(0, first, n); };
    const Tensor xs = in_dtype(rows(x), dtype), products = at::mm(left, xs.t());
    const bool has_out = of.grad.defined() || of.log_r.defined();
    const Tensor out = has_out ? at::empty_like(products) : Tensor();
    const Tensor grad_log_r =
        of.grad_log_r.defined() ? rows(of.grad_log_r).t().contiguous() : Tensor();
    VmfMixtureArgs a = args(of);
    a.points = a.stride = n;
    a.products = products.const_data_ptr();
    if (of.log_prob.defined()) a.log_prob = rows(of.log_prob).data_ptr();
    if (of.grad.defined()) a.grad = rows(of.grad).const_data_ptr();
    if (of.weights.defined()) {
      a.weights = rows(of.weights).const_data_ptr();
      a.grad_weights = rows(of.grad_weights).data_ptr();
    }
    if (grad_log_r.defined()) a.grad_log_r = grad_log_r.const_data_ptr();
    if (has_out) a.out = out.data_ptr();
    if (sums != nullptr && sums->along.defined()) a.along = products.data_ptr();
    cuda::vmf_mixture(a, device_.context());
    device_.check_launch();
    if (of.log_r.defined()) rows(of.log_r).copy_(out.t());
    if (of.grad_x.defined()) rows(of.grad_x).copy_(at::mm(out.t(), back));
    if (sums == nullptr) return;
    const Tensor of_logits = out.narrow(0, 0, components);
    sums->counts += of_logits.sum(1);
    if (sums->along.defined()) sums->along += products.narrow(0, 0, components).sum(1);
    sums->with_x += at::mm(of_logits, xs);
  }

  Device device_;
};

using MixtureLogProb = LogProb<Mixture>;
using MixtureStatistics = Statistics<Mixture>;

}  // namespace

FK_KERNELS(VmfMixtureLogProb, FK_CUDA_KEY, MixtureLogProb)
FK_KERNELS(VmfMixtureStatistics, FK_CUDA_KEY, MixtureStatistics)

}  // namespace vmf_mixture
}  // namespace bindings
}  // namespace fk
