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
//     using Table = ...;                     // what is computed from elsewhere: NoTable,
//     BesselPlan<T> static constexpr int inputs, outputs;  // rows read and written, element by
//     element static FK_HD PointView input(const Args&, int), output(const Args&, int); static
//     FK_HD int64_t elements(const Args&);  // n, of a row Program(const Args&, const Table&); //
//     what all rows share is computed here template <class Rows> void run(Rows&); // the program,
//     for the rows in hand
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
//   void set_end(output, Value)
//   Sums<Value> sum<Sums>(c, f)     f(c, in, s) adds a place's share to s; `Sums<W>` and the
//                                   coefficients `C<W>` are structs of W and nothing else
//   SquaredLength<Value> squared_length(input)           |x|^2, summed in float64
//   SquaredLength<Value> squared_length(input, scale)    |scale x|^2
//   Value largest(input)            max |x_i|
//   Value smallest(input, index)    the first x_i of least |x_i|, and its i as a Value
//   Value sum_log_abs(input)        sum log|x_i|
//   void map(c, f)                  f(c, in, out) makes the outputs' elements at a place
//   void map_at(c, f)               f(c, in, out, i) with the place's indices i as a W
//   sum_at<Sums>(c, f)              likewise
//   Value shared(same, x, f)        f(x); once for all rows where they share x (`same`)
//   void refuse(mask)               rows whose arguments are out of the domain: the CPU's call
//                                   reports them to the binding, which raises; a GPU gives NaN
//   void point(j)                   from here on PointViews are those of point j
//
// Lanes without a row hold what does no harm.  Sums do not depend on the number of threads.
#pragma once

#include "../args/rows.h"
#include "../math/elementary.h"

FK_BEGIN

#if defined(__CUDACC__)
#define FK_INLINE_LAMBDA
#elif !defined(FK_INLINE_LAMBDA)
#define FK_INLINE_LAMBDA __attribute__((always_inline))
#endif

struct NoTable {};

// Where a program's elements go: rows of their own; or, for the gradient of what rows share, the
// sums over each `block_rows` rows (the engine adds them up); or nowhere, where base is null.
struct RowOutput {
  PointView view;
  bool sums_rows = false;
  int64_t block_rows = 1;
};

// |x|^2 and |x|^2 - 1, each rounded once from a sum in float64.
template <class V>
struct SquaredLength {
  V square, excess;
};

// No coefficients.
template <class V>
struct NoCoefficients {};

FK_END
