// rational_quadratic_spline: CUDA dispatch.
#include "../../cuda/rational_quadratic_spline.h"

#include "../kernels.h"
#include "../rational_quadratic_spline.h"
#include "device.h"

namespace fk {
namespace bindings {
namespace spline {
namespace {

// The log-dets of single elements, in order, whose sums are those of the rows.
void set_scratch(RationalQuadraticSplineArgs& a, const Tensor& scratch) {
  const int64_t* n = a.coupled.n;
  a.log_det.base = scratch.data_ptr();
  const int64_t strides[4] = {n[0] * n[1] * n[2], n[1] * n[2], n[2], 1};
  std::copy(strides, strides + 4, a.log_det.stride);
}

struct Cuda {
  template <class, class... O>
  static std::tuple<Tensor, Tensor> forward(const Tensor& x, const Tensor& params, O... options) {
    const Device device(x);
    MapForward<spline::Map> call = map_forward<spline::Map>(x, params, spline::parse(options...));
    RationalQuadraticSplineArgs& a = call.args;
    const int64_t* n = a.coupled.n;
    Tensor scratch;
    if (a.sums_rows) {
      scratch = at::empty({a.coupled.rows, n[0] * n[1] * n[2]}, call.log_det.options());
      set_scratch(a, scratch);
    }
    cuda::rational_quadratic_spline_forward(a, call.log_det.data_ptr(), device.context());
    device.check_launch();
    return {std::move(call.y), std::move(call.log_det)};
  }
  template <class, class... O>
  static std::tuple<Tensor, Tensor> backward(const Tensor& grad_y, const Tensor& grad_log_det,
                                             const Tensor& x, const Tensor& params, O... options) {
    const Device device(x);
    MapBackward<spline::Map> call =
        map_backward<spline::Map>(grad_y, grad_log_det, x, params, spline::parse(options...));
    cuda::rational_quadratic_spline_backward(call.args, device.context());
    device.check_launch();
    return {std::move(call.grad_x), std::move(call.grad_params)};
  }
};

}  // namespace

FK_KERNELS(RationalQuadraticSpline, FK_CUDA_KEY, Cuda)

}  // namespace spline
}  // namespace bindings
}  // namespace fk
