// The stereographic maps and their pullbacks: two sums over a row, coefficients over
// the rows of a block, one line through the row.
#include "stereographic.h"

#include "../math/stereographic.h"
#include "columns.h"
#include "stereographic_sums.h"

FK_BEGIN
namespace loops {
namespace {

// Elements of the long rows whose coefficients are computed together, before they are read
// again from the cache.
constexpr int64_t block_elements = 512;
// Rows up to this length are handled column by column, in vectors across the rows.
constexpr int short_row = 24;
// And up to this one, or two thirds of it where three lines run through a row, a vector of
// rows at a time; more would leave no room in the nearest cache.
constexpr int medium_row = 128;

// ---- a block of rows -------------------------------------------------------------------

template <class T>
struct Block {
  // Whole vectors are read and written from any row on.
  static constexpr int size = block_rows + lanes_v<Vec<T>>;
  T scale[size], square[size], excess[size], dot[size];
  T last[size], grad_last[size], grad_log_det[size];
  T gain[size], slope[size], out_last[size], log_det[size];
};

template <class T>
void load_column(T* to, const RowView& o, int64_t row, int64_t column, int rows) {
  with_reader<T>(source(o), [=](auto read) {
    const int64_t offset = row * o.row_stride + column * o.stride;
    for (int r = 0; r < rows; ++r) to[r] = read(offset + r * o.row_stride);
  });
}
template <class T>
void store_column(const T* from, const RowView& o, int64_t row, int64_t column, int rows) {
  with_writer<T>(sink(o), [=](auto write) {
    const int64_t offset = row * o.row_stride + column * o.stride;
    for (int r = 0; r < rows; ++r) write(offset + r * o.row_stride, from[r]);
  });
}

template <class E, class Map, bool inverse, bool pullback>
struct Projection {
  using T = compute_t<E>;
  using V = Vec<T>;
  static constexpr bool out_has_last = inverse == pullback;

  const StereographicArgs& a;
  const bool direct_;
  Block<T> block;

  explicit Projection(const StereographicArgs& args)
      : a(args),
        direct_(direct<E>(a.x) && direct<E>(a.out) && (!pullback || direct<E>(a.grad_out))) {
    memset(&block, 0, sizeof(block));  // lanes past the last row are computed with
    for (int r = 0; r < block_rows; ++r) block.scale[r] = T(1);
  }

  void set(int r, const Sums<T>& sums, T scale) {
    block.scale[r] = scale;
    block.square[r] = static_cast<T>(sums.square);
    block.excess[r] = static_cast<T>(sums.square - 1);
    block.dot[r] = sums.dot;
  }
  void rescale(int r, int64_t row) {
    T scale;
    const Sums<T> sums = scaled_sums<E, inverse, pullback>(a, row, scale);
    set(r, sums, scale);
  }

  // The squares of some rows from r on; the lanes of those that need a scale.
  using Lanes = decltype(Wide{} < Wide{});
  Lanes set_squares(int r, Wide square) {
    store_narrow(block.square + r, square);
    store_narrow(block.excess + r, square - 1);
    return Range<T, inverse>::left_by(square);
  }
  static bool none(Lanes lanes) {
    bool any = false;
    for (int k = 0; k < wide_lanes; ++k) any |= lanes[k] != 0;
    return !any;
  }

  // The coefficients of row r and those after it, as many as W has lanes.
  template <class W>
  StereographicCoefficients<W> coefficients(int r) const {
    const auto at = [r](const T* p) { return load<W>(p + r); };
    return Map::template coefficients<W>({at(block.scale), at(block.square), at(block.excess),
                                          at(block.dot), at(block.last), at(block.grad_last),
                                          at(block.grad_log_det), W(static_cast<T>(a.d))});
  }
  template <class W>
  void make_line(int r) {
    const auto c = coefficients<W>(r);
    store<W>(block.gain + r, c.gain);
    store<W>(block.slope + r, c.slope);
    if constexpr (out_has_last) store<W>(block.out_last + r, c.last);
  }
  void make_log_dets(int rows) {
    if constexpr (!pullback)
      for (int r = 0; r < rows; r += lanes_v<V>)
        store<V>(block.log_det + r, coefficients<V>(r).log_det);
  }
  // Contiguous rows bring their last elements along: to touch one in every row beforehand
  // breaks the streams that the hardware prefetches, at up to twice the time.
  void read_ends(int64_t row, int rows) {
    if constexpr (inverse)
      if (!direct_) load_column(block.last, a.x, row, a.d, rows);
    if constexpr (pullback && !inverse)
      if (!direct_) load_column(block.grad_last, a.grad_out, row, a.d, rows);
    if constexpr (pullback) load_column(block.grad_log_det, a.grad_log_det, row, 0, rows);
  }

  // ---- long rows ----

  template <class U>
  static FK_HD U* row_of(const RowView& o, int64_t row) {
    return static_cast<U*>(o.base) + row * o.row_stride;
  }
  static FK_HD T get_one(const T* p) { return *p; }
  static FK_HD T get_one(const BFloat16* p) { return from_bf16(p->bits); }
  static FK_HD void set_one(T* p, T v) { *p = v; }
  static FK_HD void set_one(BFloat16* p, T v) { p->bits = to_bf16(v); }
  FK_HD Sums<T> sum_row(int64_t row) const {
    if (!direct_) return row_sums<E, pullback, inverse>(a, row, T(1));
    const int d = static_cast<int>(a.d);
    const E* x = row_of<const E>(a.x, row);
    Sums<T> sums;
    sums.square = square_of<inverse>(x, d);
    if constexpr (pullback) sums.dot = sum_products(x, row_of<const E>(a.grad_out, row), d);
    return sums;
  }
  FK_HD void write(int r, const E* x, const E* g, E* out, int n) const {
    const V gain(block.gain[r]), slope(block.slope[r]), scale(block.scale[r]);
    for_lanes<V>(n, [&](int i, int lanes) FK_INLINE_LAMBDA {
      V v = slope * (scale * load_lanes<V>(x + i, lanes));
      if constexpr (pullback) v = fma(gain, load_lanes<V>(g + i, lanes), v);
      store_lanes<V>(out + i, v, lanes);
    });
  }
  FK_HD void write_row(int r, int64_t row) const {
    if constexpr (out_has_last)
      if (direct_) set_one(row_of<E>(a.out, row) + a.d, block.out_last[r]);
    if (direct_ && !a.past_cache) {
      write(r, row_of<const E>(a.x, row), pullback ? row_of<const E>(a.grad_out, row) : nullptr,
            row_of<E>(a.out, row), static_cast<int>(a.d));
      return;
    }
    E bx[tile_size], bg[tile_size], bo[tile_size];
    const Sink result = sink(a.out, a.past_cache);
    for_tiles(a.d, false, [&](int64_t first, int n) {
      const auto at = [&](const RowView& o) { return row * o.row_stride + first * o.stride; };
      const E* x = fetch<E>(source(a.x), at(a.x), a.x.stride, n, bx);
      const E* g = x;
      if constexpr (pullback)
        g = fetch<E>(source(a.grad_out), at(a.grad_out), a.grad_out.stride, n, bg);
      E* out = target<E>(result, at(a.out), a.out.stride, bo);
      write(r, x, g, out, n);
      flush<E>(result, at(a.out), a.out.stride, n, bo);
    });
  }

  void long_rows(int64_t begin, int64_t end) {
    const int64_t fitting = block_elements / a.d + 1;
    const int step = static_cast<int>(fitting < block_rows ? fitting : block_rows);
    for (int64_t row = begin; row < end; row += block_rows) {
      const int rows = end - row < block_rows ? static_cast<int>(end - row) : block_rows;
      read_ends(row, rows);
      for (int first = 0; first < rows; first += step)
        map_rows(row, first, first + step < rows ? first + step : rows, step);
      make_log_dets(rows);
      if constexpr (out_has_last)
        if (!direct_) store_column(block.out_last, a.out, row, a.d, rows);
      if constexpr (!pullback) store_column(block.log_det, a.log_det, row, 0, rows);
    }
  }
  // Rows few enough to be read the second time from the nearest cache.
  void map_rows(int64_t row, int first, int last, int step) {
    for (int r = first; r < last; ++r) {
      // Where squares underflow, the row is summed again.
      const Sums<T> sums = sum_row(row + r);
      if (direct_) {
        if constexpr (inverse) block.last[r] = get_one(row_of<const E>(a.x, row + r) + a.d);
        if constexpr (pullback && !inverse)
          block.grad_last[r] = get_one(row_of<const E>(a.grad_out, row + r) + a.d);
      }
      set(r, sums, T(1));
      if (Range<T, inverse>::left_by(sums.square)) rescale(r, row + r);
    }
    if (step == 1) {
      make_line<T>(first);
    } else {
      for (int r = first; r < last; r += lanes_v<V>) make_line<V>(r);
    }
    for (int r = first; r < last; ++r) write_row(r, row + r);
  }

  // ---- medium rows ----

  // Contiguous rows of a few vectors: as many as a vector has lanes are summed, then written.
  void medium_rows(int64_t begin, int64_t end) {
    constexpr int group = lanes_v<V>;
    const int d = static_cast<int>(a.d), tail = (d - 1) / group * group;
    const int64_t x_step = a.x.row_stride, out_step = a.out.row_stride;
    const int64_t g_step = pullback ? a.grad_out.row_stride : 0;
    const E* x = row_of<const E>(a.x, begin);
    const E* g = pullback ? row_of<const E>(a.grad_out, begin) : x;
    // Results past the cache are collected: they are as contiguous as at::empty made them.
    E collected[group * (medium_row + 1)];
    double square[group + wide_lanes];
    for (double& s : square) s = 1;
    for (int64_t row = begin; row < end; row += group) {
      const int rows = end - row < group ? static_cast<int>(end - row) : group;
      if constexpr (pullback) load_column(block.grad_log_det, a.grad_log_det, row, 0, rows);
      for (int r = 0; r < rows; ++r) {
        const E *p = x + r * x_step, *q = g + r * g_step;
        square[r] = square_of<inverse>(p, d);
        if constexpr (inverse) block.last[r] = get_one(p + d);
        if constexpr (pullback) block.dot[r] = sum_products(p, q, d);
        if constexpr (pullback && !inverse) block.grad_last[r] = get_one(q + d);
      }
      Lanes left{};
      for (int r = 0; r < group; r += wide_lanes) left |= set_squares(r, load_wide(square + r));
      const bool regular = none(left);
      if (!regular)
        for (int r = 0; r < rows; ++r) rescale(r, row + r);
      const auto c = coefficients<V>(0);
      store<V>(block.gain, c.gain);
      store<V>(block.slope, c.slope);
      store<V>(block.out_last, c.last);
      store<V>(block.log_det, c.log_det);
      for (int r = 0; r < rows; ++r) {
        const E *p = x + r * x_step, *q = g + r * g_step;
        E* o = (a.past_cache ? collected : row_of<E>(a.out, row)) + r * out_step;
        const V gain(block.gain[r]), slope(block.slope[r]), scale(block.scale[r]);
        const auto write_vector = [&](int i) FK_INLINE_LAMBDA {
          V v = slope * (scale * load_lanes<V>(p + i, group));
          if constexpr (pullback) v = fma(gain, load_lanes<V>(q + i, group), v);
          store_lanes<V>(o + i, v, group);
        };
        for (int i = 0; i < tail; i += group) write_vector(i);
        write_vector(d - group);
        if constexpr (out_has_last) set_one(o + d, block.out_last[r]);
      }
      if (a.past_cache) stream(collected, row_of<E>(a.out, row), rows * out_step);
      if constexpr (!pullback) store_column(block.log_det, a.log_det, row, 0, rows);
      if (!regular)
        for (int r = 0; r < rows; ++r) block.scale[r] = T(1);
      x += group * x_step;
      g += group * g_step;
    }
  }

  // ---- short rows ----

  using Buffer = T[short_row + 1][block_rows];

  static void load_block(const RowView& o, int64_t row, int rows, int width, Buffer& to) {
    load_columns<T>(source(o), row * o.row_stride, o.row_stride, o.stride, rows, width, to);
  }
  // The sums of a block's rows; false where one needs a scale.
  bool sum_columns(const Buffer& x, const Buffer& g, int rows) {
    const int d = static_cast<int>(a.d);
    Lanes left{};
    for (int r = 0; r < rows; r += wide_lanes) {
      Wide square{};
      for (int i = 0; i < d; ++i) {
        const Wide v = load_wide(x[i] + r);
        square += v * v;
      }
      left |= set_squares(r, square);
    }
    if constexpr (pullback) {
      for (int r = 0; r < rows; r += lanes_v<V>) {
        V dot(T(0));
        for (int i = 0; i < d; ++i) dot = fma(load<V>(x[i] + r), load<V>(g[i] + r), dot);
        store<V>(block.dot + r, dot);
      }
    }
    return none(left);
  }
  // The results take the place of x.
  void map_columns(Buffer& x, const Buffer& g, int rows) {
    for (int r = 0; r < rows; r += lanes_v<V>) {
      const auto c = coefficients<V>(r);
      const V scale = load<V>(block.scale + r);
      for (int i = 0; i < a.d; ++i) {
        V v = c.slope * (scale * load<V>(x[i] + r));
        if constexpr (pullback) v = fma(c.gain, load<V>(g[i] + r), v);
        store<V>(x[i] + r, v);
      }
      if constexpr (out_has_last) store<V>(x[a.d] + r, c.last);
      if constexpr (!pullback) store<V>(block.log_det + r, c.log_det);
    }
  }

  void short_rows(int64_t begin, int64_t end) {
    const int d = static_cast<int>(a.d);
    Buffer x, g;
    memset(x, 0, sizeof(x));  // lanes past the last row are computed with
    if constexpr (pullback) memset(g, 0, sizeof(g));
    for (int64_t row = begin; row < end; row += block_rows) {
      const int rows = end - row < block_rows ? static_cast<int>(end - row) : block_rows;
      load_block(a.x, row, rows, d + inverse, x);
      if constexpr (pullback) load_block(a.grad_out, row, rows, d + !inverse, g);
      const bool regular = sum_columns(x, g, rows);
      if (!regular)
        for (int r = 0; r < rows; ++r) rescale(r, row + r);
      if constexpr (inverse) memcpy(block.last, x[d], sizeof(x[d]));
      if constexpr (pullback && !inverse) memcpy(block.grad_last, g[d], sizeof(g[d]));
      if constexpr (pullback) load_column(block.grad_log_det, a.grad_log_det, row, 0, rows);
      map_columns(x, g, rows);
      store_columns<T>(sink(a.out), row * a.out.row_stride, rows, d + out_has_last, x);
      if constexpr (!pullback) store_column(block.log_det, a.log_det, row, 0, rows);
      if (!regular)
        for (int r = 0; r < rows; ++r) block.scale[r] = T(1);
    }
  }

  void run(int64_t begin, int64_t end) {
    if (a.d <= short_row) {
      short_rows(begin, end);
    } else if (direct_ && a.d <= (pullback ? medium_row * 2 / 3 : medium_row)) {
      medium_rows(begin, end);
    } else {
      long_rows(begin, end);
    }
    if (a.past_cache) end_of_streams();
  }
};

template <class Map, bool inverse, bool pullback>
void run(const StereographicArgs& a, int64_t begin, int64_t end) {
  with_element(
      a.float64,
      [&](auto e) { Projection<decltype(e), Map, inverse, pullback>(a).run(begin, end); },
      a.x.dtype, a.out.dtype, pullback ? a.grad_out.dtype : a.x.dtype);
}

}  // namespace
}  // namespace loops
FK_END

namespace fk {
namespace cpu {
namespace impl = fk::FK_ISA::loops;
FK_REGISTER_KERNEL(stereographic_forward, (impl::run<StereographicMap, false, false>));
FK_REGISTER_KERNEL(stereographic_backward, (impl::run<StereographicPullback, false, true>));
FK_REGISTER_KERNEL(stereographic_inverse_forward,
                   (impl::run<StereographicInverseMap, true, false>));
FK_REGISTER_KERNEL(stereographic_inverse_backward,
                   (impl::run<StereographicInversePullback, true, true>));
}  // namespace cpu
}  // namespace fk
