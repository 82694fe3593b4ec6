// Affine coupling on the CPU: one pass over memory in each direction.
#include "affine_coupling.h"

#include "../math/affine_coupling.h"
#include "tile.h"

FK_BEGIN
namespace loops {

// ---- one tile -----------------------------------------------------------------

template <class T>
struct ForwardTile {
  const T *x, *shift, *raw;
  T* y;
  T* log_s;  // per element, or null where only the sum is wanted
  int n;
  T bound;
};

template <class T>
struct BackwardTile {
  const T *x, *shift, *raw, *grad_y;
  const T* grad_log_det;  // per element, or null: one value for the tile
  T grad_log_det_value;
  T *grad_x, *grad_shift, *grad_raw;
  int n;
  T bound;
};

template <class T, ScaleFn F, bool ShiftFirst, bool Inverse>
T forward_tile(const ForwardTile<T>& tile) {
  using V = Vec<T>;
  const V bound(tile.bound), inverse_bound(T(1) / tile.bound);
  V total(T(0));
  for_lanes<V>(tile.n, [&](int i, int n) FK_INLINE_LAMBDA {
    const V x = load_lanes<V>(tile.x + i, n), t = load_lanes<V>(tile.shift + i, n);
    const auto scale = coupling_scale<F>(load_lanes<V>(tile.raw + i, n), bound, inverse_bound);
    const V y = coupling_apply(x, t, scale.s, ShiftFirst, Inverse);
    const V log_s = Inverse ? -scale.log_s : scale.log_s;
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

template <class T, ScaleFn F, bool ShiftFirst, bool Inverse>
void backward_tile(const BackwardTile<T>& tile) {
  using V = Vec<T>;
  const V bound(tile.bound), inverse_bound(T(1) / tile.bound);
  for_lanes<V>(tile.n, [&](int i, int n) FK_INLINE_LAMBDA {
    const V x = load_lanes<V>(tile.x + i, n), g = load_lanes<V>(tile.grad_y + i, n);
    const V g_log = tile.grad_log_det != nullptr ? load_lanes<V>(tile.grad_log_det + i, n)
                                                 : V(tile.grad_log_det_value);
    const auto scale = coupling_scale<F>(load_lanes<V>(tile.raw + i, n), bound, inverse_bound);
    V t(T(0));
    if constexpr (coupling_pullback_needs_shift(ShiftFirst, Inverse))
      t = load_lanes<V>(tile.shift + i, n);
    const auto grad = coupling_pullback(g, g_log, x, t, scale, ShiftFirst, Inverse);
    store_lanes<V>(tile.grad_x + i, grad.x, n);
    store_lanes<V>(tile.grad_shift + i, grad.shift, n);
    store_lanes<V>(tile.grad_raw + i, grad.raw, n);
  });
}

// ---- choosing the tile function -------------------------------------------------

template <class T>
struct TileFunctions {
  T (*forward)(const ForwardTile<T>&);
  void (*backward)(const BackwardTile<T>&);
};

template <class T, ScaleFn F>
TileFunctions<T> tile_functions(bool shift_first, bool inverse) {
  if (shift_first) {
    if (inverse) return {forward_tile<T, F, true, true>, backward_tile<T, F, true, true>};
    return {forward_tile<T, F, true, false>, backward_tile<T, F, true, false>};
  }
  if (inverse) return {forward_tile<T, F, false, true>, backward_tile<T, F, false, true>};
  return {forward_tile<T, F, false, false>, backward_tile<T, F, false, false>};
}

template <class T>
TileFunctions<T> tile_functions(const AffineCouplingArgs& a) {
  switch (a.scale_fn) {
    case ScaleFn::exp:
      return tile_functions<T, ScaleFn::exp>(a.shift_first, a.inverse);
    case ScaleFn::tanh:
      return tile_functions<T, ScaleFn::tanh>(a.shift_first, a.inverse);
    case ScaleFn::softclip:
      return tile_functions<T, ScaleFn::softclip>(a.shift_first, a.inverse);
    case ScaleFn::atan:
      return tile_functions<T, ScaleFn::atan>(a.shift_first, a.inverse);
    case ScaleFn::sigmoid:
      return tile_functions<T, ScaleFn::sigmoid>(a.shift_first, a.inverse);
    case ScaleFn::inv_sigmoid:
      return tile_functions<T, ScaleFn::inv_sigmoid>(a.shift_first, a.inverse);
    default:
      return tile_functions<T, ScaleFn::softplus>(a.shift_first, a.inverse);
  }
}

constexpr int short_row = 128;  // elements of a row that shares its tile with others

// ---- lines: one row's share, tile by tile ----------------------------------------

Source source(const CouplingOperand& o) { return {o.base, o.dtype}; }
Sink sink(const CouplingOperand& o) { return {o.base, o.dtype}; }

int64_t line_offset(const CouplingOperand& o, int64_t row, int64_t i, int64_t j) {
  return row * o.stride[0] + i * o.stride[1] + j * o.stride[2];
}

// Calls body(row, i, j, first, n) for the tiles of a work item: the row's line (i, j),
// n elements from `first` on.
template <class Body>
void for_tiles(const CouplingShape& shape, int64_t parts, int64_t item, Body body) {
  const auto tile = [&](int64_t row, int64_t i, int64_t j, int64_t first) {
    const int64_t left = shape.n[2] - first;
    body(row, i, j, first, static_cast<int>(left < tile_size ? left : tile_size));
  };
  if (parts == 1) {
    for (int64_t i = 0; i < shape.n[0]; ++i)
      for (int64_t j = 0; j < shape.n[1]; ++j)
        for (int64_t first = 0; first < shape.n[2]; first += tile_size) tile(item, i, j, first);
    return;
  }
  const int64_t row = item / parts, part = item % parts;
  const int64_t tiles_a_line = (shape.n[2] + tile_size - 1) / tile_size;
  const int64_t tiles = shape.n[0] * shape.n[1] * tiles_a_line;
  for (int64_t k = tiles * part / parts; k < tiles * (part + 1) / parts; ++k) {
    const int64_t line = k / tiles_a_line;
    tile(row, line / shape.n[1], line % shape.n[1], (k % tiles_a_line) * tile_size);
  }
}

// Elements of type U of the channels that are only copied; both sides have one dtype.
template <class U>
void copy_kept_as(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  const CouplingShape& shape = a.kept;
  const U* from = static_cast<const U*>(a.kept_x.base);
  U* to = static_cast<U*>(a.kept_y.base);
  const int64_t *in = a.kept_x.stride, *out = a.kept_y.stride;
  const bool runs = in[3] == 1 && out[3] == 1;
  if (runs && a.parts == 1 && shape.n[0] * shape.n[1] == 1 && shape.n[2] <= short_row) {
    return copy_runs(from + begin * in[0], in[0], to + begin * out[0], out[0],
                     static_cast<int>(shape.n[2]), end - begin);
  }
  for (int64_t item = begin; item < end; ++item)
    for_tiles(shape, a.parts, item, [&](int64_t row, int64_t i, int64_t j, int64_t first, int n) {
      const U* p = from + line_offset(a.kept_x, row, i, j) + first * in[3];
      U* q = to + line_offset(a.kept_y, row, i, j) + first * out[3];
      if (runs) {
        memcpy(q, p, static_cast<size_t>(n) * sizeof(U));
      } else {
        for (int k = 0; k < n; ++k) q[k * out[3]] = p[k * in[3]];
      }
    });
}

void copy_kept(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  if (a.kept.n[0] * a.kept.n[1] * a.kept.n[2] == 0) return;
  switch (size_of(a.kept_x.dtype)) {
    case 2:
      return copy_kept_as<uint16_t>(a, begin, end);
    case 4:
      return copy_kept_as<uint32_t>(a, begin, end);
    default:
      return copy_kept_as<uint64_t>(a, begin, end);
  }
}

template <class T>
void forward_lines(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  const auto tile_function = tile_functions<T>(a).forward;
  T bx[tile_size], bt[tile_size], br[tile_size], by[tile_size];
  for (int64_t item = begin; item < end; ++item) {
    double log_det = 0;
    for_tiles(a.coupled, a.parts, item,
              [&](int64_t row, int64_t i, int64_t j, int64_t first, int n) {
                const auto at = [&](const CouplingOperand& o) {
                  return line_offset(o, row, i, j) + first * o.stride[3];
                };
                ForwardTile<T> tile;
                tile.x = fetch<T>(source(a.x), at(a.x), a.x.stride[3], n, bx);
                tile.shift = fetch<T>(source(a.shift), at(a.shift), a.shift.stride[3], n, bt);
                tile.raw = fetch<T>(source(a.raw), at(a.raw), a.raw.stride[3], n, br);
                tile.y = target<T>(sink(a.y), at(a.y), a.y.stride[3], by);
                tile.log_s = nullptr;
                tile.n = n;
                tile.bound = static_cast<T>(a.bound);
                log_det += tile_function(tile);
                flush<T>(sink(a.y), at(a.y), a.y.stride[3], n, by);
              });
    put(sink(a.log_det), item, log_det);
  }
  copy_kept(a, begin, end);
}

template <class T>
void backward_lines(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  const auto tile_function = tile_functions<T>(a).backward;
  const bool needs_shift = coupling_pullback_needs_shift(a.shift_first, a.inverse);
  T bx[tile_size], bt[tile_size], br[tile_size], bg[tile_size];
  T gx[tile_size], gt[tile_size], gr[tile_size];
  for (int64_t item = begin; item < end; ++item) {
    T grad_log_det;
    fetch<T>(source(a.grad_log_det), item / a.parts * a.grad_log_det.stride[0], 0, 1,
             &grad_log_det);
    for_tiles(
        a.coupled, a.parts, item, [&](int64_t row, int64_t i, int64_t j, int64_t first, int n) {
          const auto at = [&](const CouplingOperand& o) {
            return line_offset(o, row, i, j) + first * o.stride[3];
          };
          BackwardTile<T> tile;
          tile.x = fetch<T>(source(a.x), at(a.x), a.x.stride[3], n, bx);
          tile.shift = needs_shift
                           ? fetch<T>(source(a.shift), at(a.shift), a.shift.stride[3], n, bt)
                           : nullptr;
          tile.raw = fetch<T>(source(a.raw), at(a.raw), a.raw.stride[3], n, br);
          tile.grad_y = fetch<T>(source(a.grad_y), at(a.grad_y), a.grad_y.stride[3], n, bg);
          tile.grad_log_det = nullptr;
          tile.grad_log_det_value = grad_log_det;
          tile.grad_x = target<T>(sink(a.grad_x), at(a.grad_x), a.grad_x.stride[3], gx);
          tile.grad_shift =
              target<T>(sink(a.grad_shift), at(a.grad_shift), a.grad_shift.stride[3], gt);
          tile.grad_raw = target<T>(sink(a.grad_raw), at(a.grad_raw), a.grad_raw.stride[3], gr);
          tile.n = n;
          tile.bound = static_cast<T>(a.bound);
          tile_function(tile);
          flush<T>(sink(a.grad_x), at(a.grad_x), a.grad_x.stride[3], n, gx);
          flush<T>(sink(a.grad_shift), at(a.grad_shift), a.grad_shift.stride[3], n, gt);
          flush<T>(sink(a.grad_raw), at(a.grad_raw), a.grad_raw.stride[3], n, gr);
        });
  }
  copy_kept(a, begin, end);
}

// ---- short rows: many to a tile ---------------------------------------------------

// One operand, read or written a block of rows at a time, dense in between.
template <class T>
class Block {
 public:
  Block(const CouplingShape& s, const CouplingOperand& o, int rows, int width)
      : operand_(o), width_(width) {
    const bool plain = o.dtype == dtype_of<T>, one_line = s.n[0] * s.n[1] == 1;
    if (one_line && (o.stride[0] == width * o.stride[3] || rows == 1)) {
      kind_ = Kind::line;
    } else if (one_line && plain && o.stride[3] == 1) {
      kind_ = Kind::runs;
    } else {
      kind_ = Kind::scattered;
      int k = 0;
      for (int row = 0; row < rows; ++row)
        for (int64_t i = 0; i < s.n[0]; ++i)
          for (int64_t j = 0; j < s.n[1]; ++j)
            for (int64_t l = 0; l < s.n[2]; ++l)
              index_[k++] = static_cast<int32_t>(line_offset(o, row, i, j) + l * o.stride[3]);
    }
  }

  const T* read(int64_t row, int rows) {
    const int64_t offset = row * operand_.stride[0];
    switch (kind_) {
      case Kind::line:
        return fetch<T>(source(operand_), offset, operand_.stride[3], rows * width_, buffer_);
      case Kind::runs:
        copy_runs(static_cast<const T*>(operand_.base) + offset, operand_.stride[0], buffer_,
                  width_, width_, rows);
        return buffer_;
      default:
        gather<T>(source(operand_), offset, index_, rows * width_, buffer_);
        return buffer_;
    }
  }
  T* place(int64_t row) {
    if (kind_ != Kind::line) return buffer_;
    return target<T>(sink(operand_), row * operand_.stride[0], operand_.stride[3], buffer_);
  }
  void written(int64_t row, int rows) {
    const int64_t offset = row * operand_.stride[0];
    switch (kind_) {
      case Kind::line:
        return flush<T>(sink(operand_), offset, operand_.stride[3], rows * width_, buffer_);
      case Kind::runs:
        return copy_runs(buffer_, width_, static_cast<T*>(operand_.base) + offset,
                         operand_.stride[0], width_, rows);
      default:
        return scatter<T>(sink(operand_), offset, index_, rows * width_, buffer_);
    }
  }

 private:
  // A uniform stride throughout; contiguous rows some way apart; anything else.
  enum class Kind { line, runs, scattered };

  const CouplingOperand& operand_;
  int width_;
  Kind kind_;
  int32_t index_[tile_size];
  T buffer_[tile_size];
};

// The width of rows short enough to share a tile, else 0.  Indices are 32-bit.
int row_width(const AffineCouplingArgs& a) {
  const int64_t width = a.coupled.n[0] * a.coupled.n[1] * a.coupled.n[2];
  if (width > short_row || a.parts != 1) return 0;
  const CouplingOperand* operands[] = {&a.x, &a.shift, &a.raw, &a.y, &a.grad_y};
  for (const CouplingOperand* o : operands)
    for (const int64_t stride : o->stride)
      if (stride > (int64_t(1) << 31) / (4 * tile_size)) return 0;
  return static_cast<int>(width);
}

int rows_a_block(int width, int64_t rows) {
  return rows > tile_size / width ? tile_size / width : static_cast<int>(rows);
}

template <class T>
void forward_rows(const AffineCouplingArgs& a, int width, int64_t begin, int64_t end) {
  const auto tile_function = tile_functions<T>(a).forward;
  const int block = rows_a_block(width, end - begin);
  Block<T> x(a.coupled, a.x, block, width), shift(a.coupled, a.shift, block, width),
      raw(a.coupled, a.raw, block, width), y(a.coupled, a.y, block, width);
  T log_s[tile_size], sums[tile_size];
  for (int64_t row = begin; row < end; row += block) {
    const int rows = end - row < block ? static_cast<int>(end - row) : block;
    tile_function({x.read(row, rows), shift.read(row, rows), raw.read(row, rows), y.place(row),
                   log_s, rows * width, static_cast<T>(a.bound)});
    y.written(row, rows);
    T* const log_det = target<T>(sink(a.log_det), row, 1, sums);
    sum_runs(log_s, width, rows, log_det);
    flush<T>(sink(a.log_det), row, 1, rows, log_det);
  }
  copy_kept(a, begin, end);
}

template <class T>
void backward_rows(const AffineCouplingArgs& a, int width, int64_t begin, int64_t end) {
  const auto tile_function = tile_functions<T>(a).backward;
  const bool needs_shift = coupling_pullback_needs_shift(a.shift_first, a.inverse);
  const int block = rows_a_block(width, end - begin);
  Block<T> x(a.coupled, a.x, block, width), shift(a.coupled, a.shift, block, width),
      raw(a.coupled, a.raw, block, width), grad_y(a.coupled, a.grad_y, block, width),
      grad_x(a.coupled, a.grad_x, block, width), grad_shift(a.coupled, a.grad_shift, block, width),
      grad_raw(a.coupled, a.grad_raw, block, width);
  T per_row[tile_size], grad_log_det[tile_size];
  for (int64_t row = begin; row < end; row += block) {
    const int rows = end - row < block ? static_cast<int>(end - row) : block;
    const int64_t stride = a.grad_log_det.stride[0];
    spread_runs(fetch<T>(source(a.grad_log_det), row * stride, stride, rows, per_row), width, rows,
                grad_log_det);
    tile_function({x.read(row, rows), needs_shift ? shift.read(row, rows) : nullptr,
                   raw.read(row, rows), grad_y.read(row, rows), grad_log_det, T(0),
                   grad_x.place(row), grad_shift.place(row), grad_raw.place(row), rows * width,
                   static_cast<T>(a.bound)});
    grad_x.written(row, rows);
    grad_shift.written(row, rows);
    grad_raw.written(row, rows);
  }
  copy_kept(a, begin, end);
}

template <class T>
void forward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  const int width = row_width(a);
  width > 0 ? forward_rows<T>(a, width, begin, end) : forward_lines<T>(a, begin, end);
}
template <class T>
void backward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  const int width = row_width(a);
  width > 0 ? backward_rows<T>(a, width, begin, end) : backward_lines<T>(a, begin, end);
}

void affine_coupling_forward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  a.float64 ? forward<double>(a, begin, end) : forward<float>(a, begin, end);
}
void affine_coupling_backward(const AffineCouplingArgs& a, int64_t begin, int64_t end) {
  a.float64 ? backward<double>(a, begin, end) : backward<float>(a, begin, end);
}

}  // namespace loops
FK_END

namespace fk {
namespace cpu {
FK_REGISTER_KERNEL(affine_coupling_forward, fk::FK_ISA::loops::affine_coupling_forward);
FK_REGISTER_KERNEL(affine_coupling_backward, fk::FK_ISA::loops::affine_coupling_backward);
}  // namespace cpu
}  // namespace fk
