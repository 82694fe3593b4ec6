// Maps of channels on the CPU: the rows, or parts of few long ones, divided among threads.
#pragma once

#include <ATen/Parallel.h>

#include <algorithm>

#include "map.h"

namespace fk {
namespace bindings {

// `Op` has the Map, `parse` for its options, `forward_kernel` and `backward_kernel`, the elements
// of a `part` of a long row, and whether a thread's share of the work `counts_parameters`.
template <class Op>
struct MapCpu {
  using Map = typename Op::Map;
  using Args = typename Map::Args;

  template <class, class... O>
  static std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& params, O... options) {
    MapForward<Map> call = map_forward<Map>(x, params, Op::parse(options...));
    Args& a = call.args;
    divide_rows(a);
    if (a.parts == 1 || !a.sums_rows) {
      run(a, x, params, Op::forward_kernel);
    } else {
      const Tensor sums = at::empty({x.size(0), a.parts}, x.options().dtype(at::kDouble));
      a.log_det.base = sums.data_ptr();
      a.log_det.dtype = DType::f64;
      run(a, x, params, Op::forward_kernel);
      call.log_det.copy_(sums.sum(1));
    }
    return {std::move(call.y), std::move(call.log_det)};
  }
  template <class, class... O>
  static std::tuple<Tensor, Tensor> backward(const Tensor& grad_y, const Tensor& grad_log_det,
                                             const Tensor& x, const Tensor& params, O... options) {
    MapBackward<Map> call =
        map_backward<Map>(grad_y, grad_log_det, x, params, Op::parse(options...));
    divide_rows(call.args);
    run(call.args, x, params, Op::backward_kernel);
    return {std::move(call.grad_x), std::move(call.grad_params)};
  }

 private:
  // Few long rows are divided, into parts that depend on the shape alone: the sum of a row is then
  // the same whatever the number of threads.
  static void divide_rows(Args& a) {
    const RowShape& s = a.coupled;
    if (s.rows < 32) a.parts = std::clamp<int64_t>(s.n[0] * s.n[1] * s.n[2] / Op::part, 1, 64);
  }
  template <class Kernel>
  static void run(const Args& a, const Tensor& x, const Tensor& params, const Kernel& kernel) {
    const int64_t items = a.coupled.rows * a.parts;
    const int64_t work = x.numel() + (Op::counts_parameters ? params.numel() : 0);
    at::parallel_for(0, items, grain((work + 1) / (items + 1)),
                     [&](int64_t begin, int64_t end) { kernel(a, begin, end); });
  }
};

}  // namespace bindings
}  // namespace fk
