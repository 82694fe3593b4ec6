// What a row program is.
//
// An op on rows is a program of three parts in the words of its mathematics: sums over a row,
// coefficients from the sums, elements from the inputs and the coefficients.  A program is
// written once (csrc/ops); an engine for each kind of machine runs it (engine/cpu,
// engine/cuda).  The engine alone knows dtypes, strides, short and long rows, vectors, threads
// and stores.
//
//   template <class T>                       // the type it computes in: float or double
//   struct Program {
//     using Args = ...;                      // csrc/args: plain pointers, strides and options
//     using Table = ...;                     // what is computed beforehand: NoTable, BesselPlan<T>
//     static constexpr int inputs, outputs;  // rows read and written, element by element
//     static constexpr int compute_outputs;  // so many of the last outputs are stored in T, the
//                                            // others and the inputs in any dtype
//     static bool float64(const Args&);      // T: double or float
//     static RowInput input(const Args&, int);
//     static RowOutput output(const Args&, int);
//     static int64_t elements(const Args&);  // n, of a row
//     Program(const Args&, const Table&);
//     template <class Rows> void run(Rows&); // the program, for the rows in hand
//   };
//
// `run` sees one row or several at once: `Value` holds a number for each of them.  Elements
// have a type W of their own (a vector along a row, a vector across rows, a scalar).  What the
// engine offers as `Rows`:
//
//   Rows::Value                     one number a row; arithmetic of csrc/math works on it
//   bool any(mask)                  for branches that few rows need
//   Value number(view)              a number of each row: element 0 of a RowView or PointView
//   void put(view, Value)           the same, written
//   Value end_of(input)             the element after the n mapped ones: x_{n+1}
//   void set_end(output, Value)     after the map
//   Sums<Value> sum<Sums>(c, f)     f(c, in, s) adds an element's share to s; `Sums<W>` and the
//                                   coefficients `C<W>` are structs of W and nothing else.
//                                   Where all inputs are 0, f adds nothing
//   Sums<Value> sum<Sums, k>(c, f)  the same of the first k inputs alone
//   SquaredLength<Value> squared_length<float64>(input)         |x|^2 and |x|^2 - 1, summed in
//   SquaredLength<Value> squared_length<float64>(input, scale)  float64 or nearly; |scale x|^2
//   Value largest(input)            max |x_i|, NaN or not
//   Value sum_log_abs(input)        sum log|x_i|
//   void map(c, f)                  f(c, in, out) makes the outputs' elements
//   Sums<Value> map<Sums>(c, f)     f(c, in, out, s): with a sum on the way
//   Value shared(same, x, f)        f(x); once for all rows where they share x (`same`)
//   void refuse(mask)               rows whose arguments are out of the domain: the CPU's call
//                                   reports them to the binding, which raises; a GPU gives NaN
//
// slerp, whose rows have several points, also uses `point(j)` (PointViews are those of point j from
// here on), `smallest(input, position)`, `replace(input, c, f)` (new elements of an input), and
// on the CPU `add(adds, c, f)`, on a GPU `map_points`.  What only the CUDA engine asks of a program
// has defaults in engine/cuda/shape.h and row_kernel.h: `padding`, `is_divisible`,
// `can_be_aligned`, `row_inputs`.
//
// Results do not depend on the number of threads, nor on which rows are in hand together: where
// any() lets a branch run, the rows that did not need it keep what they had.
#pragma once

#include "../args/rows.h"
#include "../math/elementary.h"

FK_BEGIN

struct NoTable {};

// A program's elements: n in a row, and one more where `end` says so.
struct RowInput {
  PointView view;
  bool end = false;
};

// Where a program's elements go: rows of their own; or, for the gradient of the input of the same
// number, which all rows share, the sums over each `block_rows` rows (the engine adds them up; the
// last output alone); or nowhere, where base is null.
struct RowOutput {
  PointView view;
  bool end = false;
  bool non_temporal = false;  // how a CPU stores them
  bool sums_rows = false;
  int64_t block_rows = 1;
};

// |x|^2 and |x|^2 - 1, each rounded once.
template <class V>
struct SquaredLength {
  V square, excess;
};

// No coefficients.
template <class V>
struct NoCoefficients {};
// No sums.
template <class V>
struct NoSums {};

FK_END
