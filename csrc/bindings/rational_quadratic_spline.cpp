// rational_quadratic_spline: CPU dispatch.
#include "rational_quadratic_spline.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "../cpu/rational_quadratic_spline.h"
#include "module.h"

namespace fk {
namespace bindings {
namespace rational_quadratic_spline {
namespace {

// Few long rows are divided, into parts that depend on the shape alone: the sum of a
// row is then the same whatever the number of threads.
void divide_rows(RationalQuadraticSplineArgs& a) {
  const RowShape& s = a.coupled;
  if (s.rows < 32) a.parts = std::clamp<int64_t>(s.n[0] * s.n[1] * s.n[2] / 4096, 1, 64);
}

template <class Kernel>
void run(const RationalQuadraticSplineArgs& a, const Tensor& x, const Tensor& params,
         const Kernel& kernel) {
  const int64_t items = a.coupled.rows * a.parts;
  at::parallel_for(0, items, grain((x.numel() + params.numel() + 1) / (items + 1)),
                   [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
}

struct Cpu {
  template <class, class... O>
  static std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& params, O... options) {
    spline::Forward call = spline::forward(x, params, spline::parse(options...));
    RationalQuadraticSplineArgs& a = call.args;
    divide_rows(a);
    if (a.parts == 1 || !a.sums_rows) {
      run(a, x, params, cpu::rational_quadratic_spline_forward);
    } else {
      const Tensor sums = at::empty({x.size(0), a.parts}, x.options().dtype(at::kDouble));
      a.log_det.base = sums.data_ptr();
      a.log_det.dtype = DType::f64;
      run(a, x, params, cpu::rational_quadratic_spline_forward);
      call.log_det.copy_(sums.sum(1));
    }
    return {std::move(call.y), std::move(call.log_det)};
  }
  template <class, class... O>
  static std::tuple<Tensor, Tensor> backward(const Tensor& grad_y, const Tensor& grad_log_det,
                                             const Tensor& x, const Tensor& params, O... options) {
    spline::Backward call =
        spline::backward(grad_y, grad_log_det, x, params, spline::parse(options...));
    divide_rows(call.args);
    run(call.args, x, params, cpu::rational_quadratic_spline_backward);
    return {std::move(call.grad_x), std::move(call.grad_params)};
  }
};

}  // namespace

FK_DIFFERENTIABLE_OP(RationalQuadraticSpline)
FK_KERNELS(RationalQuadraticSpline, CPU, Cpu)

}  // namespace rational_quadratic_spline
}  // namespace bindings
}  // namespace fk
