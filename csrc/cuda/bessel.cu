// Elementwise functions of the Bessel family over contiguous memory.
//
// A plan (2.5 KB at most) travels as a kernel's argument: all threads read the same
// coefficients at the same time, which is what constant memory is made for.
#include "bessel.h"

#include "../engine/cuda/launch.h"
#include "../math/bessel_functions.h"

namespace fk {
namespace cuda {
namespace {

struct Elements {
  int64_t n;
  const void* x;
  const void* grad;   // null in the forward
  const void* order;  // null where there is a plan
  void* out;
  DType x_dtype, out_dtype;
  bool packs;  // all are of the compute type and aligned
};

// function(x, order) of every element, in the backward times its gradient.
template <bool Backward, bool EachOrder, class T, class Function>
FK_DEVICE void map(const Elements& e, T upper, Function function) {
  constexpr int N = pack_elements<T>;
  const T* grad = static_cast<const T*>(e.grad);
  const T* order = static_cast<const T*>(e.order);
  const int64_t thread = int64_t(blockIdx.x) * block_threads + threadIdx.x;
  const int64_t threads = int64_t(gridDim.x) * block_threads;
  const auto value = [&](T x, T v) {
    const T r = function(x, v);
    return x >= T(0) && x <= upper ? r : T(NAN);
  };
  const int64_t packed = e.packs ? e.n / N : 0;
  for (int64_t p = thread; p < packed; p += threads) {
    Values<T, N> x, v = {};
    load_pack(static_cast<const T*>(e.x) + p * N, x);
    if constexpr (EachOrder) load_pack(order + p * N, v);
#pragma unroll
    for (int m = 0; m < N; ++m) x.at[m] = value(x.at[m], v.at[m]);
    if constexpr (Backward) {
      // No sooner: four registers more would cost a block in six.
      load_pack(grad + p * N, v);
#pragma unroll
      for (int m = 0; m < N; ++m) x.at[m] *= v.at[m];
    }
    store_pack(static_cast<T*>(e.out) + p * N, x);
  }
#pragma unroll 1  // the last elements, and all where there are no packs
  for (int64_t i = packed * N + thread; i < e.n; i += threads) {
    const T x = load_element<T>(e.x, e.x_dtype, i);
    T r = value(x, EachOrder ? order[i] : T(0));
    if constexpr (Backward) r *= grad[i];
    store_element<T>(e.out, e.out_dtype, i, r);
  }
}

// Left free, the compiler gives these 42 registers, which ten blocks have; twelve have 40, and
// none spills.
template <BesselFunction F, class T>
constexpr int planned_blocks =
    sizeof(T) == 4 && (F == BesselFunction::peak || F == BesselFunction::ratio_complement)
        ? 12
        : resident_blocks<T>;

template <BesselFunction F, bool Backward, class T>
__global__ void __launch_bounds__(block_threads, planned_blocks<F, T>)
    bessel_planned(const __grid_constant__ Elements e, const __grid_constant__ BesselPlan<T> plan,
                   T offset) {
  map<Backward, false>(e, is_concentration(F) ? T(1) : T(INFINITY), [&](T x, T) {
    if constexpr (Backward) return bessel_derivative<F>(plan, x);
    return offset + bessel_value<F>(plan, x);
  });
}

template <BesselFunction F, bool Backward, class T>
__global__ void __launch_bounds__(block_threads, resident_blocks<T>)
    bessel_each_order(const __grid_constant__ Elements e) {
  map<Backward, true>(e, T(INFINITY), [&](T x, T order) {
    if constexpr (Backward) return order_derivative<F>(order, x);
    return order_value<F>(order, x);
  });
}

template <bool Backward, class T>
void run(const BesselArgs& a, int64_t n, const LaunchContext& context) {
  Elements e{n, a.x, a.grad, a.order, a.out, a.dtype, Backward ? a.dtype : a.wide, false};
  const auto aligned = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % 16 == 0; };
  e.packs =
      a.dtype == a.wide && aligned(a.x) && aligned(a.grad) && aligned(a.order) && aligned(a.out);
  const int64_t per_block = int64_t(block_threads) * (e.packs ? pack_elements<T> : 1);
  const int64_t blocks = (n + per_block - 1) / per_block;
  with_function(a.function, [&](auto function) {
    constexpr BesselFunction F = decltype(function)::value;
    if (a.plan != nullptr) {
      launch<bessel_planned<F, Backward, T>>(context, blocks, 0, e,
                                             *static_cast<const BesselPlan<T>*>(a.plan),
                                             static_cast<T>(a.offset));
    } else if constexpr (knows_each_order(F)) {
      launch<bessel_each_order<F, Backward, T>>(context, blocks, 0, e);
    }
  });
}

}  // namespace

void bessel_forward(const BesselArgs& a, int64_t n, const LaunchContext& context) {
  a.wide == DType::f64 ? run<false, double>(a, n, context) : run<false, float>(a, n, context);
}
void bessel_backward(const BesselArgs& a, int64_t n, const LaunchContext& context) {
  a.wide == DType::f64 ? run<true, double>(a, n, context) : run<true, float>(a, n, context);
}

}  // namespace cuda
}  // namespace fk
