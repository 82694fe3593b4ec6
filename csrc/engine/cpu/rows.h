// Running a row program on the CPU (engine/program.h).
//
// Short rows are transposed, so that vectors run across them; along longer rows vectors run, a
// group of medium rows at a time, one long row or four at a time.
#pragma once

#include "row_columns.h"
#include "row_groups.h"

FK_BEGIN
namespace loops {

template <class P, class T>
__attribute__((noinline)) bool run_columns(const typename P::Args& a,
                                           const typename P::Table& table, int64_t begin,
                                           int64_t end) {
  P program(a, table);
  ColumnRows<P, T> rows(a);
  for (int64_t row = begin; row < end; row += block_rows) {
    const int count = end - row < block_rows ? static_cast<int>(end - row) : block_rows;
    rows.load_block(row, count);
    for (int r = 0; r < count; r += rows.lanes) {
      rows.move_to(r);
      program.run(rows);
    }
    rows.store_block();
  }
  return rows.valid();
}

template <class P, class E, bool divided>
__attribute__((noinline)) bool run_groups(const typename P::Args& a, const typename P::Table& table,
                                          int64_t begin, int64_t end) {
  P program(a, table);
  GroupRows<P, E, divided> rows(a);
  const int64_t block = rows.block();
  for (int64_t first = begin; first < end; first += block) {
    const int64_t last = end - first < block ? end : first + block;
    rows.begin_block(first);
    for (int64_t row = first; row < last; row += rows.group()) {
      rows.move_to(row, last - row < rows.group() ? static_cast<int>(last - row) : rows.group());
      program.run(rows);
      rows.end_group();
    }
  }
  rows.end();
  return rows.valid();
}

// Programs say how many points their rows have, where that may be more than one, and whether rows
// are converted to the type of the computation as a whole.
template <class P>
int64_t points_of(const typename P::Args& a) {
  if constexpr (requires { P::points(a); }) return P::points(a);
  return 1;
}
template <class P>
constexpr bool in_compute_type = requires { P::in_compute_type; };

template <class P, class E>
bool run_layout(const typename P::Args& a, const typename P::Table& table, int64_t begin,
                int64_t end) {
  if (P::elements(a) <= short_row && points_of<P>(a) == 1)
    return run_columns<P, compute_t<E>>(a, table, begin, end);
  if (P::elements(a) <= medium_row) return run_groups<P, E, false>(a, table, begin, end);
  return run_groups<P, E, true>(a, table, begin, end);
}

// Runs the program for rows [begin, end), whole blocks of those whose gradients are added up;
// returns whether all arguments were in the domain.  `table` is null or a Program::Table.
template <template <class> class Program, class Args>
bool run_rows(const Args& a, const void* table, int64_t begin, int64_t end) {
  using Single = Program<float>;
  const auto run = [&]<class E>(E) {
    using P = Program<compute_t<E>>;
    using Table = typename P::Table;
    if constexpr (__is_same(Table, NoTable)) return run_layout<P, E>(a, NoTable{}, begin, end);
    if constexpr (!__is_same(Table, NoTable))
      return run_layout<P, E>(a, *static_cast<const Table*>(table), begin, end);
  };
  if (Single::float64(a)) return run(double());
  bool bfloat16 = true;
  for (int k = 0; k < Single::inputs; ++k)
    bfloat16 = bfloat16 && Single::input(a, k).view.dtype == DType::bf16;
  for (int k = 0; k < Single::outputs - Single::compute_outputs; ++k)
    bfloat16 = bfloat16 && Single::output(a, k).view.dtype == DType::bf16;
  if constexpr (has_bf16_loops && !in_compute_type<Single>)
    if (bfloat16) return run(BFloat16());
  return run(float());
}

}  // namespace loops
FK_END
