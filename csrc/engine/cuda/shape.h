// What the engine asks of a program beyond engine/program.h, and the shape of a kernel.
#pragma once

#include "../program.h"

namespace fk {
namespace cuda {

// The first inputs of a program, which do not depend on the point.
template <class P>
constexpr int row_inputs = [] {
  if constexpr (requires { P::row_inputs; }) return P::row_inputs;
  return P::inputs;
}();

// Whether a row may be divided among thread groups, each of which puts the number of its part.
template <class P>
constexpr bool is_divisible = [] {
  if constexpr (requires { P::is_divisible; }) return P::is_divisible;
  return false;
}();

// What elements beyond the end of a row hold.
template <class P>
constexpr int padding = [] {
  if constexpr (requires { P::padding; }) return P::padding;
  return 0;
}();

// Rows divided into parts of `elements` elements, the last of them shorter.
struct RowParts {
  int64_t count = 1, elements = 0;
};

// P, program; T, the type of the computation; N elements a thread holds of each row; E neighbours
// among them; Size threads a row, 0 where that is known at run time; Long, rows longer than
// Size x N; Column, the output whose sums over rows are held, or -1.
template <class P_, class T_, int N_, int E_, int Size_, bool Long_, int Column_>
struct Shape {
  using P = P_;
  using T = T_;
  static constexpr int N = N_, E = E_, Size = Size_, Column = Column_;
  static constexpr bool Long = Long_;
  static constexpr bool Narrow = Size == 1;  // a thread a row
};

}  // namespace cuda
}  // namespace fk
