// vmf_mixture_log_prob and vmf_mixture_statistics: CPU dispatch.
#include "vmf_mixture.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "../cpu/vmf_mixture.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace vmf_mixture {
namespace {

struct Mixture : vmf_mixture::Parameters {
  using vmf_mixture::Parameters::Parameters;

  void run(const PointTensors& of) const {
    const VmfMixtureCall call = call_of(of, locs);
    at::parallel_for(
        0, strips(), grain(mixture_strip * components * dim), [&](int64_t begin, int64_t end) {
          const Tensor room = empty({cpu::vmf_mixture_room(call)});
          cpu::vmf_mixture(call, begin * mixture_strip, std::min(end * mixture_strip, points),
                           nullptr, room.data_ptr());
        });
  }

  // In parts that depend on the shape alone, so that sums do not depend on the number of threads.
  Sums sum(const PointTensors& of, bool with_along) const {
    const Tensor rows = factors(of);
    VmfMixtureCall call = call_of(of, rows);
    const int64_t padded = mixture_padded(dim);
    Tensor padded_rows;
    if (of.grad_x.defined()) {
      padded_rows = at::zeros({rows.size(0), padded}, options);
      padded_rows.narrow(1, 0, dim).copy_(scaled(of));
      call.scaled = padded_rows.const_data_ptr();
    }
    const int64_t parts = parts_of_sums(components * padded);
    const auto zeros = [&](at::IntArrayRef sizes) {
      return at::zeros(sizes, options.dtype(at::kDouble));
    };
    const Tensor counts = zeros({parts, components}), with_x = zeros({parts, components, padded});
    const Tensor along = with_along ? zeros({parts, components}) : Tensor();
    at::parallel_for(0, parts, 1, [&](int64_t begin, int64_t end) {
      const Tensor room = empty({cpu::vmf_mixture_room(call)});
      for (int64_t part = begin; part < end; ++part) {
        VmfMixtureSums sums;
        sums.counts = counts.data_ptr<double>() + part * components;
        sums.with_x = with_x.data_ptr<double>() + part * components * padded;
        if (with_along) sums.along = along.data_ptr<double>() + part * components;
        const auto bound = [&](int64_t i) {
          return std::min(strips() * i / parts * mixture_strip, points);
        };
        cpu::vmf_mixture(call, bound(part), bound(part + 1), &sums, room.data_ptr());
      }
    });
    Sums total;
    total.counts = counts.sum(0);
    if (with_along) total.along = along.sum(0);
    total.with_x = with_x.narrow(2, 0, dim).sum(0);
    return total;
  }

 private:
  int64_t strips() const { return (points + mixture_strip - 1) / mixture_strip; }
  // At least 1024 points each, since a part's sums cost as much memory traffic as some hundred
  // points, and no more memory than a few times the parameters' or 512 MiB; fewer points in up to
  // four parts, where each is worth a thread.
  int64_t parts_of_sums(int64_t elements) const {
    constexpr int64_t most = 32, few = 4, memory = int64_t{1} << 26, work = int64_t{1} << 20;
    const int64_t affordable = std::max<int64_t>(few, memory / elements);
    const int64_t small = std::min({strips(), few, points * components * dim / work});
    return std::clamp<int64_t>(std::max(strips() / 16, small), 1, std::min(most, affordable));
  }
  static RowView view(const Tensor& t) {
    return {t.data_ptr(), cpu_dtype(t.scalar_type()), t.stride(0), t.stride(1)};
  }
  VmfMixtureCall call_of(const PointTensors& of, const Tensor& rows) const {
    VmfMixtureCall call;
    call.points = args(of);
    call.dim = dim;
    call.x = view(x);
    call.locs = rows.const_data_ptr();
    if (of.log_r.defined()) call.log_r = of.log_r.data_ptr();
    if (of.grad_log_r.defined()) {
      call.grad_log_r = view(of.grad_log_r);
      call.points.grad_log_r = call.grad_log_r.base;
    }
    if (of.grad_x.defined()) call.grad_x = of.grad_x.data_ptr();
    return call;
  }
};

using CpuLogProb = LogProb<Mixture>;
using CpuStatistics = Statistics<Mixture>;

}  // namespace

FK_DIFFERENTIABLE_OP(VmfMixtureLogProb)
FK_DIFFERENTIABLE_OP(VmfMixtureStatistics)
FK_KERNELS(VmfMixtureLogProb, CPU, CpuLogProb)
FK_KERNELS(VmfMixtureStatistics, CPU, CpuStatistics)

}  // namespace vmf_mixture
}  // namespace bindings
}  // namespace fk
