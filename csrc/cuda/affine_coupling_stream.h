// Affine coupling of rows in global memory: 16 bytes an access where the operands are runs
// of aligned memory, else element by element through any strides and dtypes.
#pragma once

#include "affine_coupling_row.h"
#include "rows.h"

namespace fk {
namespace cuda {
namespace {

// Where each element has a log-det of its own.
template <class I, class T>
struct EachAccess : StridedAccess<I, T> {};
template <class A>
constexpr bool each_log_det = false;
template <class I, class T>
constexpr bool each_log_det<EachAccess<I, T>> = true;

template <class I>
struct StreamArgs {
  AffineCouplingArgs a;
  Nest<I> coupled, kept;      // in units of the access
  I coupled_part, kept_part;  // units a part
  int group_size;
};

template <class A, class X, class P>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<X>>)
    affine_coupling_forward_stream(const __grid_constant__ StreamArgs<typename A::Index> s) {
  using T = compute_t<X>;
  const AffineCouplingArgs& a = s.a;
  const ThreadGroup threads = thread_group(s.group_size);
  const Coupling<T> c = coupling_of<T>(a);
  for_items(
      a.coupled.rows, a.parts, threads, [&](bool mine, int64_t item, int64_t row, int64_t part) {
        T sum = 0;
        if (mine) {
          const Range coupled(s.coupled.size(), s.coupled_part, part);
          const auto forward = [&](const auto& log_det) {
            return forward_row<A>(
                c, s.coupled, coupled.begin, coupled.end, threads, A::template operand<X>(a.x, row),
                A::template operand<P>(a.shift, row), A::template operand<P>(a.raw, row),
                A::template operand<X>(a.y, row), log_det);
          };
          if constexpr (each_log_det<A>) forward(A::template operand<T>(a.log_det, row));
          if constexpr (!each_log_det<A>) sum = forward(SummedLogDet());
          const Range kept(s.kept.size(), s.kept_part, part);
          copy_row<A>(s.kept, kept.begin, kept.end, threads, A::template operand<X>(a.kept_x, row),
                      A::template operand<X>(a.kept_y, row));
        }
        if constexpr (!each_log_det<A>) {
          sum = group_sum(sum, threads);
          if (mine && threads.lane == 0) static_cast<T*>(a.log_det.base)[item] = sum;
        }
      });
}

template <class A, class X, class P>
__global__ void __launch_bounds__(block_threads, resident_blocks<compute_t<X>>)
    affine_coupling_backward_stream(const __grid_constant__ StreamArgs<typename A::Index> s) {
  using T = compute_t<X>;
  const AffineCouplingArgs& a = s.a;
  const ThreadGroup threads = thread_group(s.group_size);
  const Coupling<T> c = coupling_of<T>(a);
  for_items(a.coupled.rows, a.parts, threads, [&](bool mine, int64_t, int64_t row, int64_t part) {
    if (!mine) return;
    const Range coupled(s.coupled.size(), s.coupled_part, part);
    const auto backward = [&](const auto& grad_log_det) {
      backward_row<A>(c, grad_log_det, s.coupled, coupled.begin, coupled.end, threads,
                      A::template operand<X>(a.x, row), A::template operand<P>(a.shift, row),
                      A::template operand<P>(a.raw, row), A::template operand<X>(a.grad_y, row),
                      A::template operand<X>(a.grad_x, row),
                      A::template operand<P>(a.grad_shift, row),
                      A::template operand<P>(a.grad_raw, row));
    };
    if constexpr (each_log_det<A>) {
      backward(A::template operand<T>(a.grad_log_det, row));
    } else {
      const T* const one = static_cast<const T*>(a.grad_log_det.base);
      backward(SharedGradient<T>{one[row * a.grad_log_det.stride[0]]});
    }
    const Range kept(s.kept.size(), s.kept_part, part);
    copy_row<A>(s.kept, kept.begin, kept.end, threads, A::template operand<X>(a.kept_x, row),
                A::template operand<X>(a.kept_y, row));
  });
}

// ---- on the host -------------------------------------------------------------------

template <class A, class X, class P, bool Backward>
void launch_stream(const AffineCouplingArgs& a, const LaunchContext& context, int64_t unit) {
  using I = typename A::Index;
  StreamArgs<I> s{a,
                  nest_of<I>(a.coupled, unit),
                  nest_of<I>(a.kept, unit),
                  units_a_part<I>(a.coupled, unit, a.parts),
                  units_a_part<I>(a.kept, unit, a.parts),
                  1};
  const int64_t items = a.coupled.rows * a.parts;
  s.group_size = stream_group(context, s.coupled_part, items);
  launch<Backward ? affine_coupling_backward_stream<A, X, P>
                  : affine_coupling_forward_stream<A, X, P>>(
      context, blocks_of_groups(s.group_size, items), scratch_bytes, s);
}

template <template <class, class> class Access, class T, bool Backward>
void launch_strided(const AffineCouplingArgs& a, const LaunchContext& context) {
  if (row_elements(a.coupled) < FK_SHORT_INDEX && row_elements(a.kept) < FK_SHORT_INDEX) {
    launch_stream<Access<int32_t, T>, T, T, Backward>(a, context, 1);
  } else {
    launch_stream<Access<int64_t, T>, T, T, Backward>(a, context, 1);
  }
}
template <template <class, class> class Access, bool Backward>
void launch_strided(const AffineCouplingArgs& a, const LaunchContext& context) {
  if (a.float64) {
    launch_strided<Access, double, Backward>(a, context);
  } else {
    launch_strided<Access, float, Backward>(a, context);
  }
}

}  // namespace
}  // namespace cuda
}  // namespace fk
