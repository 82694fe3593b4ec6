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
  const Source loc = source(a.loc);
  const V scale(p.scale), factor(p.factor);  // 1 and 1 on the sphere
  over_row<E>(
      a.x, row, a.stereographic ? a.dim - 1 : a.dim, x_buffer, [&](int64_t at, int n, const E* x) {
        const E* m =
            fetch<E>(loc, row * a.loc.row_stride + at * a.loc.stride, a.loc.stride, n, loc_buffer);
        for_lanes<V>(n, [&](int i, int lanes) FK_INLINE_LAMBDA {
          const V s = load_lanes<V>(x + i, lanes) * scale * factor;
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
      over_difference<E>(a, first + r, p,
                         [&](int64_t, int, V, V e) FK_INLINE_LAMBDA { sum += e * e; });
      const T rest = last_difference(a, first + r, p);
      const T square = hsum(sum) + rest * rest;
      T* out = static_cast<T*>(a.out) + first + r;
      *out = static_cast<T>(a.log_uniform) + (k.value[r] - k.kappa[r] * (square * T(0.5)));
      if (a.stereographic) *out += T(a.dim - 1) * p.log_rho;
    }
  }
  return k.all_valid();
}

// The gradients of R rows, which share loc and its gradient if there are several: loc and
// grad_loc, a row long each, are then read once for all of them.  grad_loc (where wanted) is
// overwritten or added to.
template <int R, class E, class T = compute_t<E>>
void backward_rows(const VmfArgs& a, int64_t row, const T* g, const T* kappa, const T* complement,
                   T* grad_loc) {
  using V = Vec<T>;
  const int64_t length = a.stereographic ? a.dim - 1 : a.dim;
  Point<T> p[R];
  T c[R], rest[R], gain[R], slope[R] = {};
  for (int r = 0; r < R; ++r) {
    if (a.stereographic) p[r] = project<E>(a, row + r);
    c[r] = g[r] * kappa[r];
    gain[r] = -c[r] * p[r].rho;  // rho = 1 on the sphere
    rest[r] = last_difference(a, row + r, p[r]);
    if (!a.stereographic) continue;
    V dot(T(0));
    over_difference<E>(a, row + r, p[r],
                       [&](int64_t, int, V s, V e) FK_INLINE_LAMBDA { dot += s * e; });
    // rho g + s (rho g_last - s.g - d g_logdet) with g = -c e
    slope[r] = c[r] * hsum(dot) - c[r] * p[r].rho * rest[r] - T(a.dim - 1) * g[r];
  }

  E x_buffer[R][tile_size], loc_buffer[tile_size];
  T gradient[lanes_v<V>];
  V square[R];
  for (V& v : square) v = V(T(0));
  // What the loop needs of `a` is copied: for all the compiler knows, its stores change `a`.
  const bool direct = a.x.dtype == dtype_of<E>, add = a.sum_grad_loc;
  E* const grad_x = static_cast<E*>(a.grad_x) + row * length;
  for (int64_t first = 0; first < length; first += tile_size) {
    const int n = length - first < tile_size ? static_cast<int>(length - first) : tile_size;
    const auto tile = [&](const RowView& o, int64_t r, E* buffer) {
      return fetch<E>(source(o), r * o.row_stride + first * o.stride, o.stride, n, buffer);
    };
    const E *x[R], *loc = tile(a.loc, row, loc_buffer);
    for (int r = 0; r < R; ++r) x[r] = tile(a.x, row + r, x_buffer[r]);
    T* const to_loc = grad_loc == nullptr ? nullptr : grad_loc + first;
    for_lanes<V>(n, [&](int i, int lanes) FK_INLINE_LAMBDA {
      const V m = load_lanes<V>(loc + i, lanes);
      V sum = to_loc != nullptr && add ? load_lanes<V>(to_loc + i, lanes) : V(T(0));
      for (int r = 0; r < R; ++r) {
        const V s = load_lanes<V>(x[r] + i, lanes) * V(p[r].scale) * V(p[r].factor), e = s - m;
        square[r] = fma(e, e, square[r]);
        sum = fma(V(c[r]), e, sum);
        const V gx = fma(V(gain[r]), e, V(slope[r]) * s);
        const int64_t at = r * length + first + i;
        if (direct) {
          store_lanes<V>(grad_x + at, gx, lanes);
        } else {
          store_lanes<V>(gradient, gx, lanes);
          flush<T>({a.grad_x, a.x.dtype}, row * length + at, 1, lanes, gradient);
        }
      }
      if (to_loc != nullptr) store_lanes<V>(to_loc + i, sum, lanes);
    });
  }
  for (int r = 0; r < R; ++r) {
    if (a.stereographic && grad_loc != nullptr)
      grad_loc[length] = (add ? grad_loc[length] : T(0)) + c[r] * rest[r];
    const T whole = hsum(square[r]) + rest[r] * rest[r];
    static_cast<T*>(a.grad_kappa)[row + r] = g[r] * (complement[r] - whole * T(0.5));
  }
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
    T g[block_rows];
    load_elements<T>(a.grad, first, 0, rows, g);
    const bool shared = a.loc.row_stride == 0 && (grad_loc == nullptr || a.sum_grad_loc);
    int r = 0;
    for (; shared && r + 4 <= rows; r += 4)
      backward_rows<4, E>(a, first + r, g + r, k.kappa + r, k.value + r, grad_loc);
    for (; r < rows; ++r) {
      backward_rows<1, E>(a, first + r, g + r, k.kappa + r, k.value + r, grad_loc);
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
