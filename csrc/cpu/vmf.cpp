// Log density of the von Mises-Fisher distribution, on the sphere and pulled back to R^d:
//
//   log p(x) = log C_p(0) + M(kappa) - kappa |x - loc|^2 / 2,   M = kappa - L (log_0f1.h)
//   log p(z) = log p(psi(z)) + d log rho                        (stereographic.h)
//
// |x - loc|^2 instead of 1 - x.loc, which would lose all digits near the mode.
#include "vmf.h"

#include "../math/log_0f1.h"
#include "../math/stereographic.h"
#include "tile.h"

FK_BEGIN
namespace loops {

// One row in tiles: body(offset, n, pointer to the tile).
template <class T, class Body>
FK_HD void over_row(const VmfOperand& o, int64_t row, int64_t n, T* buffer, Body body) {
  const Source source{o.base, o.dtype};
  for (int64_t i = 0; i < n; i += tile_size) {
    const int m = n - i < tile_size ? static_cast<int>(n - i) : tile_size;
    body(i, m, fetch<T>(source, row * o.row_stride + i * o.stride, o.stride, m, buffer));
  }
}
template <class T>
T element(const VmfOperand& o, int64_t row, int64_t i) {
  T value;
  return *fetch<T>({o.base, o.dtype}, row * o.row_stride + i * o.stride, 0, 1, &value);
}

// A point of the sphere as a row to read: s_i = x_i scale factor, then s_d = last.
template <class T>
struct Point {
  T scale = 1, factor = 1, rho = 1, last = 0, log_rho = 0;
};

template <class T>
T power_of_two_below(T x) {
  // Keeps the exponent only.
  const auto exponent = as_int(T(INFINITY));
  return as_float(as_int(x) & exponent);
}

template <class T>
Point<T> project(const VmfArgs& a, int64_t row) {
  using V = Vec<T>;
  T buffer[tile_size];
  const int64_t d = a.dim - 1;
  double square = 0;
  StereographicRow<T> r = {};
  r.scale = T(1);
  over_row<T>(a.x, row, d, buffer, [&](int64_t, int n, const T* z) {
    V sum(T(0));
    for_lanes<V>(n, [&](int i, int lanes) {
      const V v = load_lanes<V>(z + i, lanes);
      sum += v * v;
    });
    square += hsum(sum);
  });
  if (!(square < (sizeof(T) == 4 ? 1e30 : 1e280))) {
    V most(T(0));
    over_row<T>(a.x, row, d, buffer, [&](int64_t, int n, const T* z) {
      for_lanes<V>(n,
                   [&](int i, int lanes) { most = max(most, abs(load_lanes<V>(z + i, lanes))); });
    });
    r.scale = T(1) / power_of_two_below(hmax(most));
    square = 0;
    over_row<T>(a.x, row, d, buffer, [&](int64_t, int n, const T* z) {
      V sum(T(0));
      for_lanes<V>(n, [&](int i, int lanes) {
        const V v = load_lanes<V>(z + i, lanes) * V(r.scale);
        sum += v * v;
      });
      square += hsum(sum);
    });
  }
  r.square = static_cast<T>(square);
  r.excess = static_cast<T>(square - 1);
  const StereographicPoint<T> p = stereographic_point(r);
  return {r.scale, p.factor, p.rho, p.last, p.log_rho};
}

// visit(i, lanes, s_i, s_i - loc_i) over the coordinates that come from x.
template <class T, class Visit>
FK_HD void over_difference(const VmfArgs& a, int64_t row, const Point<T>& p, Visit visit) {
  using V = Vec<T>;
  T x_buffer[tile_size], loc_buffer[tile_size];
  const Source loc{a.loc.base, a.loc.dtype};
  const V scale(p.scale), factor(p.factor);
  over_row<T>(
      a.x, row, a.stereographic ? a.dim - 1 : a.dim, x_buffer, [&](int64_t at, int n, const T* x) {
        const T* m =
            fetch<T>(loc, row * a.loc.row_stride + at * a.loc.stride, a.loc.stride, n, loc_buffer);
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

// The concentrations of a block of rows and a function of each; false if one is negative.
template <class T, class Function>
bool over_kappa(const VmfArgs& a, int64_t first, int rows, T* kappa, T* value, Function function) {
  using V = Vec<T>;
  const bool shared = a.kappa.row_stride == 0;
  const int n = shared ? 1 : rows;
  for (int i = 0; i < n; ++i) kappa[i] = element<T>(a.kappa, first + i, 0);
  bool inside = true;
  for_lanes<V>(n, [&](int i, int lanes) {
    const V k = load_lanes<V>(kappa + i, lanes, T(1));
    inside = inside && !any(k < V(T(0)));
    store_lanes<V>(value + i, function(k), lanes);
  });
  for (int i = n; i < rows; ++i) {
    kappa[i] = kappa[0];
    value[i] = value[0];
  }
  return inside;
}

template <class T>
bool forward(const VmfArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  const auto& plan = *static_cast<const BesselPlan<T>*>(a.plan);
  bool inside = true;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t first = block * vmf_block_rows;
    const int rows =
        static_cast<int>(a.rows - first < vmf_block_rows ? a.rows - first : vmf_block_rows);
    T kappa[vmf_block_rows], peak[vmf_block_rows];
    inside &= over_kappa<T>(a, first, rows, kappa, peak, [&](V k) { return bessel_peak(plan, k); });
    for (int r = 0; r < rows; ++r) {
      Point<T> p;
      if (a.stereographic) p = project<T>(a, first + r);
      V sum(T(0));
      over_difference<T>(a, first + r, p, [&](int64_t, int, V, V e) { sum += e * e; });
      const T rest = last_difference(a, first + r, p);
      const T square = hsum(sum) + rest * rest;
      T* out = static_cast<T*>(a.out) + first + r;
      *out = static_cast<T>(a.log_uniform) + (peak[r] - kappa[r] * (square * T(0.5)));
      if (a.stereographic) *out += T(a.dim - 1) * p.log_rho;
    }
  }
  return inside;
}

// The gradients of one row; grad_loc (where wanted) is overwritten or added to.
template <class T>
void backward_row(const VmfArgs& a, int64_t row, T g, T kappa, T complement, T* grad_loc) {
  using V = Vec<T>;
  T buffer[tile_size];
  Point<T> p;
  if (a.stereographic) p = project<T>(a, row);
  const T c = g * kappa, rest = last_difference(a, row, p);
  V square_sum(T(0)), dot_sum(T(0));
  T gain = -c, slope = 0;
  if (a.stereographic) {
    over_difference<T>(a, row, p, [&](int64_t, int, V s, V e) { dot_sum += s * e; });
    // rho g + s (rho g_last - s.g - d g_logdet) with g = -c e
    slope = c * hsum(dot_sum) - c * p.rho * rest - T(a.dim - 1) * g;
    gain = -c * p.rho;
  }
  const int64_t length = a.stereographic ? a.dim - 1 : a.dim;
  const Sink grad_x{a.grad_x, a.x.dtype};
  const bool direct = a.x.dtype == dtype_of<T>;
  over_difference<T>(a, row, p, [&](int64_t i, int lanes, V s, V e) {
    square_sum += e * e;
    const V gx = V(gain) * e + V(slope) * s;
    if (direct) {
      store_lanes<V>(static_cast<T*>(a.grad_x) + row * length + i, gx, lanes);
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

template <class T>
bool backward(const VmfArgs& a, int64_t begin, int64_t end) {
  using V = Vec<T>;
  const auto& plan = *static_cast<const BesselPlan<T>*>(a.plan);
  bool inside = true;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t first = block * vmf_block_rows;
    const int rows =
        static_cast<int>(a.rows - first < vmf_block_rows ? a.rows - first : vmf_block_rows);
    T kappa[vmf_block_rows], complement[vmf_block_rows];
    inside &= over_kappa<T>(a, first, rows, kappa, complement,
                            [&](V k) { return bessel_ratio_complement(plan, k); });
    T* grad_loc = static_cast<T*>(a.grad_loc);
    if (grad_loc != nullptr) grad_loc += (a.sum_grad_loc ? block : first) * a.dim;
    if (grad_loc != nullptr && a.sum_grad_loc) memset(grad_loc, 0, a.dim * sizeof(T));
    for (int r = 0; r < rows; ++r) {
      const T g = element<T>(a.grad, first + r, 0);
      backward_row<T>(a, first + r, g, kappa[r], complement[r], grad_loc);
      if (grad_loc != nullptr && !a.sum_grad_loc) grad_loc += a.dim;
    }
  }
  return inside;
}

bool vmf_forward(const VmfArgs& a, int64_t begin, int64_t end) {
  return a.wide == DType::f64 ? forward<double>(a, begin, end) : forward<float>(a, begin, end);
}
bool vmf_backward(const VmfArgs& a, int64_t begin, int64_t end) {
  return a.wide == DType::f64 ? backward<double>(a, begin, end) : backward<float>(a, begin, end);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(vmf_forward, fk::FK_ISA::loops::vmf_forward);
FK_REGISTER_KERNEL(vmf_backward, fk::FK_ISA::loops::vmf_backward);
}  // namespace cpu
}  // namespace fk
