// Log density of the von Mises-Fisher distribution, on the sphere and pulled back to R^d:
//
//   log p(x) = log C_p(0) + M(kappa) - kappa |x - loc|^2 / 2,   M = kappa - L (log_0f1.h)
//   log p(z) = log p(psi(z)) + d log rho                        (stereographic.h)
//
// |x - loc|^2 instead of 1 - x.loc, which would lose all digits near the mode.
#include "vmf.h"

#include "vmf_short.h"

FK_BEGIN
namespace loops {

// visit(i, lanes, s_i, s_i - loc_i) over the coordinates that come from x.
template <class E, class Visit>
FK_HD void over_difference(const VmfArgs& a, int64_t row, const Point<compute_t<E>>& p,
                           Visit visit) {
  using V = Vec<compute_t<E>>;
  E x_buffer[tile_size], loc_buffer[tile_size];
  const Source loc{a.loc.base, a.loc.dtype};
  const V scale(p.scale), factor(p.factor);
  over_row<E>(
      a.x, row, a.stereographic ? a.dim - 1 : a.dim, x_buffer, [&](int64_t at, int n, const E* x) {
        const E* m =
            fetch<E>(loc, row * a.loc.row_stride + at * a.loc.stride, a.loc.stride, n, loc_buffer);
        for_lanes<V>(n, [&](int i, int lanes) {
          V s = load_lanes<V>(x + i, lanes);
          if (a.stereographic) s = s * scale * factor;
          visit(at + i, lanes, s, s - load_lanes<V>(m + i, lanes));
        });
      });
}

template <class T>
T last_difference(const VmfArgs& a, int64_t row, const Point<T>& p) {
  return a.stereographic ? p.last - element<T>(a.loc, row, a.dim - 1) : T(0);
}

template <class E>
bool forward_long(const VmfArgs& a, int64_t begin, int64_t end) {
  using T = compute_t<E>;
  using V = Vec<T>;
  const auto& plan = *static_cast<const BesselPlan<T>*>(a.plan);
  const auto peak = [&](V k) { return bessel_peak(plan, k); };
  Concentrations<T, decltype(peak)> k(a, peak);
  for (int64_t block = begin; block < end; ++block) {
    const int64_t first = block * vmf_block_rows;
    const int rows =
        static_cast<int>(a.rows - first < vmf_block_rows ? a.rows - first : vmf_block_rows);
    k.move_to(first, rows);
    for (int r = 0; r < rows; ++r) {
      Point<T> p;
      if (a.stereographic) p = project<E>(a, first + r);
      V sum(T(0));
      over_difference<E>(a, first + r, p, [&](int64_t, int, V, V e) { sum += e * e; });
      const T rest = last_difference(a, first + r, p);
      const T square = hsum(sum) + rest * rest;
      T* out = static_cast<T*>(a.out) + first + r;
      *out = static_cast<T>(a.log_uniform) + (k.value[r] - k.kappa[r] * (square * T(0.5)));
      if (a.stereographic) *out += T(a.dim - 1) * p.log_rho;
    }
  }
  return k.all_valid();
}

// The gradients of one row; grad_loc (where wanted) is overwritten or added to.
template <class E, class T = compute_t<E>>
void backward_row(const VmfArgs& a, int64_t row, T g, T kappa, T complement, T* grad_loc) {
  using V = Vec<T>;
  T buffer[tile_size];
  Point<T> p;
  if (a.stereographic) p = project<E>(a, row);
  const T c = g * kappa, rest = last_difference(a, row, p);
  V square_sum(T(0)), dot_sum(T(0));
  T gain = -c, slope = 0;
  if (a.stereographic) {
    over_difference<E>(a, row, p, [&](int64_t, int, V s, V e) { dot_sum += s * e; });
    // rho g + s (rho g_last - s.g - d g_logdet) with g = -c e
    slope = c * hsum(dot_sum) - c * p.rho * rest - T(a.dim - 1) * g;
    gain = -c * p.rho;
  }
  const int64_t length = a.stereographic ? a.dim - 1 : a.dim;
  const Sink grad_x{a.grad_x, a.x.dtype};
  const bool direct = a.x.dtype == dtype_of<E>;
  over_difference<E>(a, row, p, [&](int64_t i, int lanes, V s, V e) {
    square_sum += e * e;
    const V gx = V(gain) * e + V(slope) * s;
    if (direct) {
      store_lanes<V>(static_cast<E*>(a.grad_x) + row * length + i, gx, lanes);
    } else {
      store_lanes<V>(buffer, gx, lanes);
      flush<T>(grad_x, row * length + i, 1, lanes, buffer);
    }
    if (grad_loc == nullptr) return;
    V gl = V(c) * e;
    if (a.sum_grad_loc) gl += load_lanes<V>(grad_loc + i, lanes);
    store_lanes<V>(grad_loc + i, gl, lanes);
  });
  if (a.stereographic && grad_loc != nullptr)
    grad_loc[length] = (a.sum_grad_loc ? grad_loc[length] : T(0)) + c * rest;
  const T square = hsum(square_sum) + rest * rest;
  static_cast<T*>(a.grad_kappa)[row] = g * (complement - square * T(0.5));
}

template <class E>
bool backward_long(const VmfArgs& a, int64_t begin, int64_t end) {
  using T = compute_t<E>;
  using V = Vec<T>;
  const auto& plan = *static_cast<const BesselPlan<T>*>(a.plan);
  const auto complement = [&](V k) { return bessel_ratio_complement(plan, k); };
  Concentrations<T, decltype(complement)> k(a, complement);
  for (int64_t block = begin; block < end; ++block) {
    const int64_t first = block * vmf_block_rows;
    const int rows =
        static_cast<int>(a.rows - first < vmf_block_rows ? a.rows - first : vmf_block_rows);
    k.move_to(first, rows);
    T* grad_loc = static_cast<T*>(a.grad_loc);
    if (grad_loc != nullptr) grad_loc += (a.sum_grad_loc ? block : first) * a.dim;
    if (grad_loc != nullptr && a.sum_grad_loc) memset(grad_loc, 0, a.dim * sizeof(T));
    for (int r = 0; r < rows; ++r) {
      const T g = element<T>(a.grad, first + r, 0);
      backward_row<E>(a, first + r, g, k.kappa[r], k.value[r], grad_loc);
      if (grad_loc != nullptr && !a.sum_grad_loc) grad_loc += a.dim;
    }
  }
  return k.all_valid();
}

template <class E>
bool forward(const VmfArgs& a, int64_t begin, int64_t end) {
  using Short = ShortVmf<compute_t<E>>;
  return a.dim <= Short::longest ? Short(a).forward(begin, end) : forward_long<E>(a, begin, end);
}
template <class E>
bool backward(const VmfArgs& a, int64_t begin, int64_t end) {
  using Short = ShortVmf<compute_t<E>>;
  return a.dim <= Short::longest ? Short(a).backward(begin, end) : backward_long<E>(a, begin, end);
}

bool vmf_forward(const VmfArgs& a, int64_t begin, int64_t end) {
  return with_element(
      a.wide == DType::f64, [&](auto e) { return forward<decltype(e)>(a, begin, end); }, a.x.dtype,
      a.loc.dtype);
}
bool vmf_backward(const VmfArgs& a, int64_t begin, int64_t end) {
  return with_element(
      a.wide == DType::f64, [&](auto e) { return backward<decltype(e)>(a, begin, end); }, a.x.dtype,
      a.loc.dtype);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(vmf_forward, fk::FK_ISA::loops::vmf_forward);
FK_REGISTER_KERNEL(vmf_backward, fk::FK_ISA::loops::vmf_backward);
}  // namespace cpu
}  // namespace fk
