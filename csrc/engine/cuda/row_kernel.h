// The kernel of row programs and, on the host, which of its shapes a call gets.
#pragma once

#include "launch.h"
#include "rows.h"

namespace fk {
namespace cuda {

template <class P>
struct RowArgs {
  typename P::Args args;
  int64_t blocks, block_rows;  // blocks of rows: a thread block's work at a time
  int group_size;
  RowParts parts;
};

// Whether the rows of all operands can begin at multiples of 16 bytes.
template <class P>
constexpr bool can_be_aligned = [] {
  if constexpr (requires { P::can_be_aligned; }) return P::can_be_aligned;
  return true;
}();

// Blocks that a multiprocessor holds at least, which bounds the registers of a thread: the rows'
// and some 64 more have room in its 64 Ki registers; long rows need more for their addresses, and
// of the widest no more than two or three blocks fit anyway.
template <class Shape>
constexpr int blocks_at_least = [] {
  constexpr int arrays = Shape::P::inputs + (Shape::Column >= 0);
  constexpr int words = static_cast<int>(sizeof(typename Shape::T)) / 4;
  constexpr int more = Shape::Long ? 32 : Shape::N > 32 ? 64 : 0;
  constexpr int registers = Shape::N * arrays * words + 48 + 16 * words + more;
  constexpr int blocks = 65536 / (block_threads * registers);
  return blocks < 1 ? 1 : blocks;
}();

template <class Shape>
__global__ void __launch_bounds__(block_threads, blocks_at_least<Shape>)
    row_kernel(const __grid_constant__ RowArgs<typename Shape::P> r,
               const __grid_constant__ typename Shape::P::Table table) {
  typename Shape::P program(r.args, table);
  Rows<Shape> rows(r.args, thread_group(Shape::Size ? Shape::Size : r.group_size));
  const ThreadGroup group = thread_group(Shape::Size ? Shape::Size : r.group_size);
  for (int64_t block = blockIdx.x; block < r.blocks; block += gridDim.x) {
    rows.begin_sums(block);
    for (int64_t i = 0; i < r.block_rows; i += group.count) {
      const int64_t in_block = i + group.index, row = block * r.block_rows + in_block;
      rows.take(row, in_block < r.block_rows && row < r.args.rows * r.parts.count, r.parts);
      program.run(rows);
      rows.end_row();
    }
    rows.end_sums();
  }
}

// ---- on the host -------------------------------------------------------------------

// Whether all rows of a view begin at multiples of `bytes` and are without gaps.
inline bool begins_aligned(const PointView& v, int64_t rows, int64_t n, int elements) {
  const int64_t bytes = elements * static_cast<int64_t>(size_of(v.dtype));
  return (v.stride == 1 || n == 1) && reinterpret_cast<uintptr_t>(v.base) % bytes == 0 &&
         (rows == 1 || v.row_stride % elements == 0) && v.point_stride % elements == 0;
}

template <class P, class T, int Column>
class RowLaunch {
 public:
  using Args = typename P::Args;
  using Table = typename P::Table;
  // Arrays of N elements in a thread's registers.
  static constexpr int arrays = P::inputs + (Column >= 0);
  // Single float64 elements are 256 bytes a warp.
  static constexpr bool has_packs = sizeof(T) == 4 && can_be_aligned<P>;
  static constexpr int pack = 4;
  static constexpr int held = sizeof(T) == 8 || arrays > 3 ? 16 : 32;  // of rows up to a warp's
  static constexpr int wide = 96;    // of longer ones, a warp each
  static constexpr int narrow = 16;  // of rows that a thread holds alone
  static constexpr bool has_narrow = sizeof(T) == 4;
  static constexpr bool has_wide = sizeof(T) == 4 && arrays <= 2;

  RowLaunch(const Args& a, const Table& table, const LaunchContext& context, int64_t parts = 1)
      : a_(a), table_(table), context_(context), n_(P::elements(a)) {
    parts_ = {parts, (n_ + parts - 1) / parts};
    if (parts > 1) parts_.elements = n_ = (parts_.elements + pack - 1) / pack * pack;
    rows_ = a.rows * parts;
    packs_ = has_packs && P::elements(a) % pack == 0;
    contiguous_ = true;
    for (int k = 0; k < P::inputs; ++k) look_at(P::input(a, k).view);
    for (int k = 0; k < P::outputs; ++k)
      if (k != Column) look_at(P::output(a, k).view);
  }

  void run() const {
    if (rows_ == 0) return;
    with_shape([&](auto shape, int size) { launch_kernel<decltype(shape)>(size); });
  }

  // Rows whose sums a block of threads holds: as many as give the device the blocks that it holds
  // at once, so that none waits for another to end.
  int64_t block_rows() const {
    int64_t rows = 1;
    with_shape([&](auto shape, int size) {
      using Kernel = decltype(shape);
      const int64_t blocks = int64_t(context_.multiprocessors) *
                             resident_blocks_of<row_kernel<Kernel>>(shared_bytes<Kernel>());
      const int64_t groups = block_threads / size;
      const int64_t wanted = rows_ > blocks ? (rows_ + blocks - 1) / blocks : 1;
      rows = (wanted + groups - 1) / groups * groups;
    });
    return rows;
  }

 private:
  void look_at(const PointView& v) {
    if (v.base == nullptr) return;
    packs_ = packs_ && begins_aligned(v, a_.rows, n_, pack);
    contiguous_ = contiguous_ && (v.stride == 1 || n_ == 1);
  }

  // Calls body(shape, threads of a group).
  template <class Body>
  void with_shape(Body body) const {
    constexpr int warp_pack = has_packs ? pack : 1;
    if constexpr (has_narrow)
      if (n_ <= narrow && parts_.count == 1)
        return body(Shape<P, T, narrow, 1, 1, false, Column>(), 1);
    if constexpr (has_wide)
      if (is_wide())
        return body(Shape<P, T, wide, warp_pack, warp_threads, false, Column>(), warp_threads);
    if (n_ > int64_t(held) * block_threads)
      return body(Shape<P, T, 8, 1, 0, true, Column>(), block_threads);
    if constexpr (has_packs)
      if (packs_) return body(Shape<P, T, held, pack, 0, false, Column>(), group_size());
    if constexpr (!has_packs && sizeof(T) == 4)
      if (contiguous_ && group_size() == warp_threads)
        return body(Shape<P, T, held, 1, warp_threads, false, Column>(), warp_threads);
    body(Shape<P, T, held, 1, 0, false, Column>(), group_size());
  }

  // A warp a row holds what fits, where there are rows for all warps.
  bool is_wide() const {
    return contiguous_ && packs_ == has_packs && n_ > int64_t(held) * warp_threads &&
           n_ <= int64_t(wide) * warp_threads && rows_ >= int64_t(context_.multiprocessors) * 4;
  }

  // Few threads a row repeat the mathematics of its numbers the least; single elements need 8
  // neighbours to fill a sector of 32 bytes; few rows need more threads each.
  int group_size() const {
    if (n_ > int64_t(held) * block_threads) return block_threads;
    const int64_t units = packs_ ? n_ / pack : n_;
    const int64_t neighbours = packs_ ? 2 : 8, enough = int64_t(context_.multiprocessors) * 512;
    int size = 1;
    while (size < block_threads && int64_t(size) * held < n_) size *= 2;
    while (size < neighbours && size * 2 <= units) size *= 2;
    while (size < block_threads && size * 4 <= units && rows_ * size < enough) size *= 2;
    return size;
  }

  template <class Kernel>
  size_t shared_bytes() const {
    if constexpr (Kernel::Narrow) return NarrowRow<T, Kernel::N>::shared_bytes;
    return scratch_bytes + (Column >= 0 && !Kernel::Long ? (n_ + 1) * sizeof(T) : 0);
  }

  template <class Kernel>
  void launch_kernel(int size) const {
    RowArgs<P> r{a_, 0, block_threads / size, size, parts_};
    if constexpr (Column >= 0) r.block_rows = P::output(a_, Column).block_rows;
    r.blocks = (rows_ + r.block_rows - 1) / r.block_rows;
    launch<row_kernel<Kernel>>(context_, r.blocks, shared_bytes<Kernel>(), r, table_);
  }

  const Args& a_;
  const Table& table_;
  const LaunchContext& context_;
  RowParts parts_;
  int64_t n_, rows_;  // of a part; parts of all rows
  bool packs_, contiguous_;
};

// Runs a program on all rows, or on parts of them; Column, the output that is a sum over the rows
// of each block.
template <class P, class T, int Column = -1>
void run_rows(const typename P::Args& a, const typename P::Table& table,
              const LaunchContext& context, int64_t parts = 1) {
  RowLaunch<P, T, Column>(a, table, context, parts).run();
}

}  // namespace cuda
}  // namespace fk
