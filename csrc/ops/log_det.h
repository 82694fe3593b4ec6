// sum log|d| row by row: d log|d| = grad / d.
#pragma once

#include "../args/log_det.h"
#include "../engine/program.h"

FK_BEGIN

template <class V>
struct LogDetGradient {
  V grad;
};

template <class T, bool Backward>
struct LogDetProgram {
  using Args = LogDetArgs;
  using Table = NoTable;
  static constexpr int inputs = 1, outputs = Backward, compute_outputs = 0;
  static constexpr int padding = 1;  // its logarithm adds nothing
  static constexpr bool is_divisible = true;

  static FK_HD bool float64(const Args& a) { return a.wide == DType::f64; }
  static FK_HD RowInput input(const Args& a, int) {
    return {{{const_cast<void*>(a.diag), a.dtype, a.row_stride, a.stride}}};
  }
  static FK_HD RowOutput output(const Args& a, int) { return {{{a.grad_diag, a.dtype, a.n, 1}}}; }
  static FK_HD int64_t elements(const Args& a) { return a.n; }

  const Args& a;
  FK_HD LogDetProgram(const Args& args, const Table&) : a(args) {}

  template <class Rows>
  FK_HD void run(Rows& rows) {
    using V = typename Rows::Value;
    if constexpr (!Backward) {
      rows.put(RowView{a.log_det, a.wide, 1, 0}, rows.sum_log_abs(0));
    } else {
      const RowView grad{const_cast<void*>(a.grad_log_det), a.wide, a.grad_stride, 0};
      rows.map(LogDetGradient<V>{rows.number(grad)},
               [](const auto& c, const auto& in, auto& out)
                   FK_INLINE_LAMBDA { out[0] = c.grad / in[0]; });
    }
  }
};

template <class T>
using LogDetForward = LogDetProgram<T, false>;
template <class T>
using LogDetBackward = LogDetProgram<T, true>;

FK_END
