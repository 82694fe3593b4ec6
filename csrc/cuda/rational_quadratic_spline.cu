// Rational-quadratic splines: a thread an element, its bins in registers.
#include "rational_quadratic_spline.h"

#include "../engine/cuda/elements.h"
#include "../engine/cuda/storage.h"
#include "../math/rational_quadratic_spline.h"
#include "tile.h"

namespace fk {
namespace cuda {
namespace {

using SplineArgs = RationalQuadraticSplineArgs;

// Kernels have room for so many bins.  Of the least their number is known to the compiler, and
// the weights of bins are in registers; the others have them in local memory, of which the driver
// keeps as much for every thread that the device could hold.
constexpr int common_bins = 8, several_bins = 32;
template <int Room>
constexpr int fixed_bins = Room == common_bins ? common_bins : 0;

struct SplineLaunch {
  SplineArgs a;
  ElementOrder coupled, kept;
  int parts;  // parameters of an element
};

// ---- a thread's parameters ---------------------------------------------------------------

// In the tile of its block, in shared memory.
template <class S>
struct StagedParams {
  S* at;

  FK_DEVICE compute_t<S> operator()(int m) const { return widen(at[m]); }
  // Gradients take the place of what they are gradients of.
  FK_DEVICE void set(int m, compute_t<S> value) const { at[m] = narrow<S>(value); }
};

// Where the operand has them.
template <class T>
struct DirectParams {
  const VectorOperand& o;
  int64_t offset;

  FK_DEVICE T operator()(int m) const {
    return load_element<T>(o.base, o.dtype, offset + m * o.part_stride);
  }
  FK_DEVICE void set(int m, T value) const {
    store_element<T>(o.base, o.dtype, offset + m * o.part_stride, value);
  }
};

// Blocks that a multiprocessor holds at least: it leaves registers for all that a thread needs.
constexpr int forward_blocks = 5;
template <class T, int Room>
constexpr int backward_blocks = Room == common_bins || sizeof(T) == 8 ? 3 : 4;

template <class T, int Room>
using Splines = SplineAt<T, T[Room]>;

// ---- one element --------------------------------------------------------------------------

template <bool inverse, int Room, class T, int Fixed, class Params>
FK_DEVICE void forward_element(const SplineLaunch& s, const SplineConstants<T, Fixed>& c,
                               const Element& e, const Params& params) {
  const SplineArgs& a = s.a;
  Splines<T, Room> at;
  const T x = load_element<T>(a.x.base, a.x.dtype, e.offset(a.x));
  spline_at<inverse>(at, c, x, params);
  const SplineValue<T> value = spline_value<inverse>(at, c, x);
  store_element<T>(a.y.base, a.y.dtype, e.offset(a.y), value.y);
  static_cast<T*>(a.log_det.base)[e.offset(a.log_det)] = value.log_det;
}

template <bool inverse, int Room, class T, int Fixed, class Params, class Grads>
FK_DEVICE void backward_element(const SplineLaunch& s, const SplineConstants<T, Fixed>& c,
                                const Element& e, const Params& params, const Grads& grads) {
  const SplineArgs& a = s.a;
  Splines<T, Room> at;
  const T x = load_element<T>(a.x.base, a.x.dtype, e.offset(a.x));
  const T grad_y = load_element<T>(a.grad_y.base, a.grad_y.dtype, e.offset(a.grad_y));
  const T grad_log = static_cast<const T*>(a.grad_log_det.base)[e.offset(a.grad_log_det)];
  spline_at<inverse>(at, c, x, params);
  const SplineGradients<T> grad = spline_gradients<inverse>(at, c, x, grad_y, grad_log);
  store_spline_gradients(at, c, grad, params, [&](int m, T value) { grads.set(m, value); });
  store_element<T>(a.grad_x.base, a.grad_x.dtype, e.offset(a.grad_x), grad.x);
}

// ---- kernels --------------------------------------------------------------------------------

template <class S, bool inverse, int Room>
__global__ void __launch_bounds__(block_threads, forward_blocks)
    rational_quadratic_spline_forward_staged(const __grid_constant__ SplineLaunch s) {
  using T = compute_t<S>;
  const auto c = spline_constants<T, fixed_bins<Room>>(s.a);
  for_tiles(s.coupled, [&](const ElementTile& tile) {
    const S* from = static_cast<const S*>(s.a.params.base) + tile.first * s.parts;
    S* const staged = tile_in(shared_memory(), from, tile.n * s.parts);
    wait_for_copies();
    __syncthreads();
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < tile.n)
      forward_element<inverse, Room>(s, c, element_of<true>(s.coupled, tile),
                                     StagedParams<S>{staged + thread * s.parts});
    __syncthreads();
  });
  copy_elements(s.kept, s.a.kept_x, s.a.kept_y);
}

template <class S, bool inverse, int Room>
__global__ void __launch_bounds__(block_threads, backward_blocks<compute_t<S>, Room>)
    rational_quadratic_spline_backward_staged(const __grid_constant__ SplineLaunch s) {
  using T = compute_t<S>;
  const auto c = spline_constants<T, fixed_bins<Room>>(s.a);
  for_tiles(s.coupled, [&](const ElementTile& tile) {
    const S* from = static_cast<const S*>(s.a.params.base) + tile.first * s.parts;
    S* const staged = tile_in(shared_memory(), from, tile.n * s.parts);
    wait_for_copies();
    __syncthreads();
    const int thread = static_cast<int>(threadIdx.x);
    if (thread < tile.n) {
      const StagedParams<S> params{staged + thread * s.parts};
      backward_element<inverse, Room>(s, c, element_of<true>(s.coupled, tile), params, params);
    }
    __syncthreads();
    tile_out(static_cast<S*>(s.a.grad_params.base) + tile.first * s.parts, staged,
             tile.n * s.parts);
    __syncthreads();
  });
  copy_elements(s.kept, s.a.kept_x, s.a.kept_y);
}

template <class T, bool inverse, int Room>
__global__ void __launch_bounds__(block_threads, forward_blocks)
    rational_quadratic_spline_forward_direct(const __grid_constant__ SplineLaunch s) {
  const auto c = spline_constants<T, fixed_bins<Room>>(s.a);
  for_tiles(s.coupled, [&](const ElementTile& tile) {
    if (static_cast<int>(threadIdx.x) >= tile.n) return;
    const Element e = element_of<false>(s.coupled, tile);
    forward_element<inverse, Room>(s, c, e, DirectParams<T>{s.a.params, e.offset(s.a.params)});
  });
  copy_elements(s.kept, s.a.kept_x, s.a.kept_y);
}

template <class T, bool inverse, int Room>
__global__ void __launch_bounds__(block_threads, backward_blocks<T, Room>)
    rational_quadratic_spline_backward_direct(const __grid_constant__ SplineLaunch s) {
  const auto c = spline_constants<T, fixed_bins<Room>>(s.a);
  for_tiles(s.coupled, [&](const ElementTile& tile) {
    if (static_cast<int>(threadIdx.x) >= tile.n) return;
    const Element e = element_of<false>(s.coupled, tile);
    backward_element<inverse, Room>(s, c, e, DirectParams<T>{s.a.params, e.offset(s.a.params)},
                                    DirectParams<T>{s.a.grad_params, e.offset(s.a.grad_params)});
  });
  copy_elements(s.kept, s.a.kept_x, s.a.kept_y);
}

// ---- on the host -------------------------------------------------------------------------------

// Whether the parameters of all elements follow each other.
bool is_one_run(const ElementOrder& order, const VectorOperand& o, int parts) {
  return o.part_stride == 1 && order.is_flat() && (o.stride[3] == parts || order.n[2] == 1) &&
         (o.stride[0] == parts * order.n[2] || order.rows == 1);
}

template <bool backward, bool inverse, class S, int Room>
void launch_staged(const SplineLaunch& s, const LaunchContext& context, int64_t blocks) {
  const size_t bytes = size_t(block_threads) * s.parts * sizeof(S) + 32;
  launch<backward ? rational_quadratic_spline_backward_staged<S, inverse, Room>
                  : rational_quadratic_spline_forward_staged<S, inverse, Room>>(context, blocks,
                                                                                bytes, s);
}
template <bool backward, bool inverse, class T, int Room>
void launch_direct(const SplineLaunch& s, const LaunchContext& context, int64_t blocks) {
  launch<backward ? rational_quadratic_spline_backward_direct<T, inverse, Room>
                  : rational_quadratic_spline_forward_direct<T, inverse, Room>>(context, blocks, 0,
                                                                                s);
}

template <bool backward, bool inverse>
void run(const SplineArgs& a, const LaunchContext& context) {
  const SplineLaunch s = {a, order_of(a.coupled), order_of(a.kept),
                          spline_parameters(a.boundary, a.bins)};
  const int64_t tiles = tiles_of(s.coupled), copied = tiles_of(s.kept);
  const int64_t blocks = tiles > copied ? tiles : copied;
  const bool common = a.bins == common_bins, several = a.bins <= several_bins;
  if (a.float64) {
    return several ? launch_direct<backward, inverse, double, several_bins>(s, context, blocks)
                   : launch_direct<backward, inverse, double, largest_bins>(s, context, blocks);
  }
  const bool one_run = is_one_run(s.coupled, a.params, s.parts) &&
                       (!backward || is_one_run(s.coupled, a.grad_params, s.parts)) &&
                       block_threads * s.parts * sizeof(float) + 32 <= tile_bytes_limit;
  if (common && one_run) {
    switch (a.params.dtype) {
      case DType::f32:
        return launch_staged<backward, inverse, float, common_bins>(s, context, blocks);
      case DType::f16:
        return launch_staged<backward, inverse, Half, common_bins>(s, context, blocks);
      case DType::bf16:
        return launch_staged<backward, inverse, Bfloat16, common_bins>(s, context, blocks);
      case DType::f64:
        break;
    }
  }
  if (common) return launch_direct<backward, inverse, float, common_bins>(s, context, blocks);
  if (several && one_run && a.params.dtype == DType::f32)
    return launch_staged<backward, inverse, float, several_bins>(s, context, blocks);
  several ? launch_direct<backward, inverse, float, several_bins>(s, context, blocks)
          : launch_direct<backward, inverse, float, largest_bins>(s, context, blocks);
}

}  // namespace

void rational_quadratic_spline_forward(const SplineArgs& a, void* log_det,
                                       const LaunchContext& context) {
  a.inverse ? run<false, true>(a, context) : run<false, false>(a, context);
  if (!a.sums_rows) return;
  const RowShape& n = a.coupled;
  launch_sum_element_rows(context, a.float64 ? DType::f64 : DType::f32, a.log_det.base, n.rows,
                          n.n[0] * n.n[1] * n.n[2], log_det);
}

void rational_quadratic_spline_backward(const SplineArgs& a, const LaunchContext& context) {
  a.inverse ? run<true, true>(a, context) : run<true, false>(a, context);
}

}  // namespace cuda
}  // namespace fk
