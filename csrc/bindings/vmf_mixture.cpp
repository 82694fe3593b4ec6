// vmf_mixture_log_prob and vmf_mixture_statistics: what runs the kernel on each device, and the
// ops.
#include "vmf_mixture.h"

#include <ATen/Parallel.h>

#include "module.h"
#if defined(FK_ON_CUDA)
#include "cuda/device.h"
#endif

namespace fk {
namespace bindings {
namespace {

#if defined(FK_ON_CUDA)

class Machine {
 public:
  explicit Machine(const Tensor& x) : device_(x) {}
  // Points of a block, by 64 MiB of products.
  static int64_t block(int64_t components, int64_t, int64_t size) {
    return std::max<int64_t>(4096, (int64_t{1} << 26) / (components * size) / 128 * 128);
  }
  static int64_t parts(int64_t, int64_t) { return 1; }
  template <class Body>
  void for_parts(int64_t parts, Body body) const {
    for (int64_t i = 0; i < parts; ++i) body(i);
  }
  void run(const VmfMixtureArgs& args) const {
    cuda::vmf_mixture(args, device_.context());
    device_.check_launch();
  }

 private:
  Device device_;
};

#else

// Blocks, and the parts that sums are made of, depend on shapes alone, and each is the work of one
// thread: results do not depend on how many there are.  Where there are but few parts, torch's
// products have the threads.
class Machine {
 public:
  explicit Machine(const Tensor&) {}
  // Points of a block, by what a core's cache holds of x and of two matrices.
  static int64_t block(int64_t components, int64_t dim, int64_t size) {
    const int64_t fit = (int64_t{1} << 20) / ((dim + 2 * components) * size);
    return std::clamp<int64_t>(fit / 64 * 64, 64, 512);
  }
  // Parts of sums of so many elements.
  static int64_t parts(int64_t blocks, int64_t elements) {
    constexpr int64_t most = 32, memory = int64_t{1} << 24;  // elements of all parts
    return std::max<int64_t>(1, std::min({most, blocks, memory / elements}));
  }
  template <class Body>
  void for_parts(int64_t parts, Body body) const {
    constexpr int64_t few = 4;
    const auto run = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) body(i);
    };
    if (parts < few) return run(0, parts);
    at::parallel_for(0, parts, 1, run);
  }
  void run(const VmfMixtureArgs& args) const { cpu::vmf_mixture(args); }
};

#endif

using vmf_mixture::PointTensors;
using vmf_mixture::Sums;
using Mixture = vmf_mixture::Mixture<Machine>;

// A gradient of the points' batch, as the kernels read it.
Tensor flat(const Tensor& grad, const Mixture& m) {
  return in_dtype(grad.reshape({m.points}), m.options.dtype().toScalarType()).contiguous();
}
std::vector<int64_t> with_last(at::IntArrayRef batch, int64_t n) {
  auto sizes = batch.vec();
  sizes.push_back(n);
  return sizes;
}
at::IntArrayRef batch_of(const Tensor& x) { return x.sizes().slice(0, x.dim() - 1); }

struct LogProb {
  template <class Spec>
  static std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& locs,
                                            const Tensor& concentrations,
                                            const Tensor& log_weights, bool responsibilities) {
    const Mixture m(Spec::name, x, locs, concentrations, log_weights);
    PointTensors of;
    of.log_prob = m.empty({m.points});
    if (responsibilities) of.log_r = m.empty({m.points, m.components});
    m.run(of);
    const auto batch = batch_of(x);
    const Tensor log_r = responsibilities ? of.log_r : m.empty({m.points, 0});
    return {of.log_prob.reshape(batch),
            log_r.reshape(with_last(batch, responsibilities ? m.components : 0))};
  }
  template <class Spec>
  static std::tuple<Tensor, Tensor, Tensor, Tensor> backward(
      const Tensor& grad_log_prob, const Tensor& grad_log_r, const Tensor& x, const Tensor& locs,
      const Tensor& concentrations, const Tensor& log_weights, bool responsibilities) {
    const Mixture m(Spec::name, x, locs, concentrations, log_weights);
    const auto batch = batch_of(x);
    const auto dtype = wide(x.scalar_type());
    check_gradient(Spec::name, "grad_log_prob", grad_log_prob, batch, dtype, x);
    check_gradient(Spec::name, "grad_log_responsibilities", grad_log_r,
                   with_last(batch, responsibilities ? m.components : 0), dtype, x);
    PointTensors of;
    of.grad = flat(grad_log_prob, m);
    if (responsibilities) of.grad_log_r = grad_log_r.reshape({m.points, m.components});
    of.grad_x = at::empty({m.points, m.dim}, x.options());
    const Sums sums = m.sum(of, true);
    const Tensor slope = m.radial("vmf_mean_resultant_complement");
    return {of.grad_x.reshape(x.sizes()),
            (sums.with_x * m.kappa64.unsqueeze(1)).to(locs.scalar_type()),
            (sums.along + slope * sums.counts).to(concentrations.scalar_type()),
            sums.counts.to(log_weights.scalar_type())};
  }
};

struct Statistics {
  template <class Spec>
  static std::tuple<Tensor, Tensor, Tensor> forward(const Tensor& x, const Tensor& locs,
                                                    const Tensor& concentrations,
                                                    const Tensor& log_weights,
                                                    const Tensor& sample_weights) {
    const Mixture m(Spec::name, x, locs, concentrations, log_weights);
    const auto batch = batch_of(x);
    check_floating(Spec::name, "sample_weights", sample_weights);
    check_same_device(Spec::name, "sample_weights", sample_weights, "x", x);
    check_precision(Spec::name, "sample_weights", sample_weights, "x", x);
    TORCH_CHECK_VALUE(sample_weights.sizes() == batch, Spec::name,
                      ": `sample_weights` must have the batch of `x` ", batch, ", got ",
                      sample_weights.sizes());
    PointTensors of;
    of.log_prob = m.empty({m.points});
    of.grad = flat(sample_weights, m);
    const Sums sums = m.sum(of, false);
    return {of.log_prob.reshape(batch), sums.counts, sums.with_x};
  }
  // By the formulas: who differentiates an E-step can afford the responsibilities.
  template <class Spec>
  static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward(
      const Tensor& grad_log_prob, const Tensor& grad_counts, const Tensor& grad_sums,
      const Tensor& x, const Tensor& locs, const Tensor& concentrations,
      const Tensor& log_weights, const Tensor& sample_weights) {
    return Op<Spec>::Grads::backward_composite().call(grad_log_prob, grad_counts, grad_sums, x,
                                                      locs, concentrations, log_weights,
                                                      sample_weights);
  }
};

}  // namespace

#if defined(FK_ON_CUDA)
FK_KERNELS(VmfMixtureLogProb, FK_CUDA_KEY, LogProb)
FK_KERNELS(VmfMixtureStatistics, FK_CUDA_KEY, Statistics)
#else
FK_DIFFERENTIABLE_OP(VmfMixtureLogProb)
FK_DIFFERENTIABLE_OP(VmfMixtureStatistics)
FK_KERNELS(VmfMixtureLogProb, CPU, LogProb)
FK_KERNELS(VmfMixtureStatistics, CPU, Statistics)
#endif

}  // namespace bindings
}  // namespace fk
