// Affine coupling on the CPU: one pass over memory in each direction.
#include "affine_coupling.h"

#include "../math/affine_coupling.h"
#include "affine_coupling_rows.h"

FK_BEGIN
namespace loops {

// ---- one tile -----------------------------------------------------------------

template <class E>
struct ForwardTile {
  using T = compute_t<E>;
  const CouplingOptions& options;
  const E *x, *shift, *raw;
  E* y;
  T* log_s;  // per element, or null where only the sum is wanted
  int n;
};

template <class E>
struct BackwardTile {
  using T = compute_t<E>;
  const CouplingOptions& options;
  // Where the pullback does not depend on the shift, `shift` is x: it is loaded and not used.
  const E *x, *shift, *raw, *grad_y;
  const T* grad_log_det;  // per element, or null: one value for the tile
  T grad_log_det_value;
  E *grad_x, *grad_shift, *grad_raw;
  int n;
};

template <class E, ScaleFn F, bool inverse>
compute_t<E> forward_tile(const ForwardTile<E>& tile) {
  using T = compute_t<E>;
  using V = Vec<T>;
  const auto constants = coupling_constants<V>(tile.options);
  const auto before = coupling_shifts_before<V>(tile.options, inverse);
  V total(T(0));
  for_lanes<V>(tile.n, [&](int i, int n) FK_INLINE_LAMBDA {
    const V x = load_lanes<V>(tile.x + i, n), t = load_lanes<V>(tile.shift + i, n);
    const auto scale = coupling_scale<F>(load_lanes<V>(tile.raw + i, n), constants);
    const V y = coupling_apply(x, t, scale.s, before, inverse);
    const V log_s = inverse ? -scale.log_s : scale.log_s;
    store_lanes<V>(tile.y + i, y, n);
    if (tile.log_s != nullptr) {
      store_lanes<V>(tile.log_s + i, log_s, n);
    } else if (n == lanes_v<V>) {
      total += log_s;
    } else {
      T last[lanes_v<V>];
      store<V>(last, log_s);
      for (int j = n; j < lanes_v<V>; ++j) last[j] = T(0);
      total += load<V>(last);
    }
  });
  return hsum(total);
}

template <class E, ScaleFn F, bool inverse>
void backward_tile(const BackwardTile<E>& tile) {
  using T = compute_t<E>;
  using V = Vec<T>;
  const auto constants = coupling_constants<V>(tile.options);
  const auto before = coupling_shifts_before<V>(tile.options, inverse);
  for_lanes<V>(tile.n, [&](int i, int n) FK_INLINE_LAMBDA {
    const V x = load_lanes<V>(tile.x + i, n), g = load_lanes<V>(tile.grad_y + i, n);
    const V g_log = tile.grad_log_det != nullptr ? load_lanes<V>(tile.grad_log_det + i, n)
                                                 : V(tile.grad_log_det_value);
    const auto scale = coupling_scale<F>(load_lanes<V>(tile.raw + i, n), constants);
    const V t = load_lanes<V>(tile.shift + i, n);
    const auto grad = coupling_pullback(g, g_log, x, t, scale, before, inverse);
    store_lanes<V>(tile.grad_x + i, grad.x, n);
    store_lanes<V>(tile.grad_shift + i, grad.shift, n);
    store_lanes<V>(tile.grad_raw + i, grad.raw, n);
  });
}

// ---- choosing the tile function -------------------------------------------------

template <class E>
struct TileFunctions {
  compute_t<E> (*forward)(const ForwardTile<E>&);
  void (*backward)(const BackwardTile<E>&);
};

template <class E, ScaleFn F, bool inverse>
TileFunctions<E> tile_functions() {
  return {forward_tile<E, F, inverse>, backward_tile<E, F, inverse>};
}
template <class E>
TileFunctions<E> tile_functions(const AffineCouplingArgs& a) {
  switch (a.scale_fn) {
#define FK_TILE_FUNCTIONS(F)                                 \
  case ScaleFn::F:                                           \
    return a.inverse ? tile_functions<E, ScaleFn::F, true>() \
                     : tile_functions<E, ScaleFn::F, false>();
    FK_SCALE_FUNCTIONS(FK_TILE_FUNCTIONS)
#undef FK_TILE_FUNCTIONS
  }
  return {};
}

constexpr int short_row = 128;  // elements of a row that shares its tile with others

template <class E>
void forward_lines(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  using T = compute_t<E>;
  const auto tile_function = tile_functions<E>(a).forward;
  E bx[chunk_size], bt[chunk_size], br[chunk_size], by[chunk_size];
  T bl[chunk_size];
  for (int64_t item = begin; item < end; ++item) {
    double log_det = 0;
    for_tiles(
        a.coupled, a.parts, item, [&](int64_t row, int64_t i, int64_t j, int64_t first, int n) {
          const auto at = [&](const CouplingOperand& o) {
            return line_offset(o, row, i, j) + first * o.stride[3];
          };
          const auto read = [&](const CouplingOperand& o, E* buffer) {
            return fetch<E>(source(o), at(o), o.stride[3], n, buffer);
          };
          log_det += tile_function(
              {a, read(a.x, bx), read(a.shift, bt), read(a.raw, br),
               target<E>(sink(a.y), at(a.y), a.y.stride[3], by),
               a.sums_rows ? nullptr
                           : target<T>(sink(a.log_det), at(a.log_det), a.log_det.stride[3], bl),
               n});
          flush<E>(sink(a.y), at(a.y), a.y.stride[3], n, by);
          if (!a.sums_rows) flush<T>(sink(a.log_det), at(a.log_det), a.log_det.stride[3], n, bl);
        });
    if (a.sums_rows) put(sink(a.log_det), item, log_det);
  }
  KeptChannels{a.kept, a.kept_x, a.kept_y, a.parts}.copy(begin, end);
}

template <class E>
void backward_lines(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  using T = compute_t<E>;
  const auto tile_function = tile_functions<E>(a).backward;
  const bool needs_shift = coupling_shifts_before(a.shift_first, a.inverse);
  E bx[chunk_size], bt[chunk_size], br[chunk_size], bg[chunk_size];
  E gx[chunk_size], gt[chunk_size], gr[chunk_size];
  T bl[chunk_size];
  for (int64_t item = begin; item < end; ++item) {
    T grad_log_det = 0;
    if (a.sums_rows)
      fetch<T>(source(a.grad_log_det), item / a.parts * a.grad_log_det.stride[0], 0, 1,
               &grad_log_det);
    for_tiles(
        a.coupled, a.parts, item, [&](int64_t row, int64_t i, int64_t j, int64_t first, int n) {
          const auto at = [&](const CouplingOperand& o) {
            return line_offset(o, row, i, j) + first * o.stride[3];
          };
          const auto read = [&](const CouplingOperand& o, E* buffer) {
            return fetch<E>(source(o), at(o), o.stride[3], n, buffer);
          };
          const auto write = [&](const CouplingOperand& o, E* buffer) {
            return target<E>(sink(o), at(o), o.stride[3], buffer);
          };
          const T* const each = a.sums_rows ? nullptr
                                            : fetch<T>(source(a.grad_log_det), at(a.grad_log_det),
                                                       a.grad_log_det.stride[3], n, bl);
          const E* const in = read(a.x, bx);
          tile_function({a, in, needs_shift ? read(a.shift, bt) : in, read(a.raw, br),
                         read(a.grad_y, bg), each, grad_log_det, write(a.grad_x, gx),
                         write(a.grad_shift, gt), write(a.grad_raw, gr), n});
          flush<E>(sink(a.grad_x), at(a.grad_x), a.grad_x.stride[3], n, gx);
          flush<E>(sink(a.grad_shift), at(a.grad_shift), a.grad_shift.stride[3], n, gt);
          flush<E>(sink(a.grad_raw), at(a.grad_raw), a.grad_raw.stride[3], n, gr);
        });
  }
  KeptChannels{a.kept, a.kept_x, a.kept_y, a.parts}.copy(begin, end);
}

// ---- short rows: many to a tile ---------------------------------------------------

// The width of rows short enough to share a tile, else 0.  Indices are 32-bit.
int row_width(const AffineCouplingArgs& a) {
  const int64_t width = a.coupled.n[0] * a.coupled.n[1] * a.coupled.n[2];
  if (width > short_row || a.parts != 1) return 0;
  const CouplingOperand* operands[] = {&a.x,      &a.shift,   &a.raw,         &a.y,
                                       &a.grad_y, &a.log_det, &a.grad_log_det};
  for (const CouplingOperand* o : operands)
    for (const int64_t stride : o->stride)
      if (stride > (int64_t(1) << 31) / (4 * chunk_size)) return 0;
  return static_cast<int>(width);
}

int rows_a_block(int width, int64_t rows) {
  return rows > chunk_size / width ? chunk_size / width : static_cast<int>(rows);
}

template <class E>
void forward_rows(const AffineCouplingArgs& a, int width, int64_t begin, int64_t end) {
  using T = compute_t<E>;
  const auto tile_function = tile_functions<E>(a).forward;
  const int block = rows_a_block(width, end - begin);
  Block<E> x(a.coupled, a.x, block, width), shift(a.coupled, a.shift, block, width),
      raw(a.coupled, a.raw, block, width), y(a.coupled, a.y, block, width);
  Block<T> each(a.coupled, a.log_det, a.sums_rows ? 0 : block, width);
  T log_s[chunk_size], sums[chunk_size];
  for (int64_t row = begin; row < end; row += block) {
    const int rows = end - row < block ? static_cast<int>(end - row) : block;
    tile_function({a, x.read(row, rows), shift.read(row, rows), raw.read(row, rows), y.place(row),
                   a.sums_rows ? log_s : each.place(row), rows * width});
    y.written(row, rows);
    if (!a.sums_rows) {
      each.written(row, rows);
      continue;
    }
    T* const log_det = target<T>(sink(a.log_det), row, 1, sums);
    sum_segments(log_s, width, rows, log_det);
    flush<T>(sink(a.log_det), row, 1, rows, log_det);
  }
  KeptChannels{a.kept, a.kept_x, a.kept_y, a.parts}.copy(begin, end);
}

template <class E>
void backward_rows(const AffineCouplingArgs& a, int width, int64_t begin, int64_t end) {
  using T = compute_t<E>;
  const auto tile_function = tile_functions<E>(a).backward;
  const bool needs_shift = coupling_shifts_before(a.shift_first, a.inverse);
  const int block = rows_a_block(width, end - begin);
  Block<E> x(a.coupled, a.x, block, width), shift(a.coupled, a.shift, block, width),
      raw(a.coupled, a.raw, block, width), grad_y(a.coupled, a.grad_y, block, width),
      grad_x(a.coupled, a.grad_x, block, width), grad_shift(a.coupled, a.grad_shift, block, width),
      grad_raw(a.coupled, a.grad_raw, block, width);
  Block<T> each(a.coupled, a.grad_log_det, a.sums_rows ? 0 : block, width);
  T per_row[chunk_size], spread[chunk_size];
  for (int64_t row = begin; row < end; row += block) {
    const int rows = end - row < block ? static_cast<int>(end - row) : block;
    const int64_t stride = a.grad_log_det.stride[0];
    if (a.sums_rows)
      spread_segments(fetch<T>(source(a.grad_log_det), row * stride, stride, rows, per_row), width,
                      rows, spread);
    const T* const grad_log_det = a.sums_rows ? spread : each.read(row, rows);
    const E* const in = x.read(row, rows);
    tile_function({a, in, needs_shift ? shift.read(row, rows) : in, raw.read(row, rows),
                   grad_y.read(row, rows), grad_log_det, T(0), grad_x.place(row),
                   grad_shift.place(row), grad_raw.place(row), rows * width});
    grad_x.written(row, rows);
    grad_shift.written(row, rows);
    grad_raw.written(row, rows);
  }
  KeptChannels{a.kept, a.kept_x, a.kept_y, a.parts}.copy(begin, end);
}

template <class E>
void forward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  const int width = row_width(a);
  width > 0 ? forward_rows<E>(a, width, begin, end) : forward_lines<E>(a, begin, end);
}
template <class E>
void backward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  const int width = row_width(a);
  width > 0 ? backward_rows<E>(a, width, begin, end) : backward_lines<E>(a, begin, end);
}

// Gradients have the dtypes of what they are gradients of.
void affine_coupling_forward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  with_element(
      a.float64, [&](auto e) { forward<decltype(e)>(a, begin, end); }, a.x.dtype, a.raw.dtype);
}
void affine_coupling_backward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  with_element(
      a.float64, [&](auto e) { backward<decltype(e)>(a, begin, end); }, a.x.dtype, a.raw.dtype);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(affine_coupling_forward, fk::FK_ISA::loops::affine_coupling_forward);
FK_REGISTER_KERNEL(affine_coupling_backward, fk::FK_ISA::loops::affine_coupling_backward);
}  // namespace cpu
}  // namespace fk
