// log_det_diagonal: argument checks and the kernels' arguments, for every device.
#pragma once

#include <ATen/Functions.h>

#include "../args/log_det.h"
#include "check.h"

namespace fk {
namespace bindings {

struct LogDetDiagonal {
  static constexpr const char* name = "log_det_diagonal";
  static constexpr const char* arguments = "Tensor diag, int event_ndim";
  static constexpr const char* gradients = "Tensor grad_log_det";
  using Signature = Tensor(const Tensor&, int64_t);
};

namespace log_det {

constexpr const char* op = LogDetDiagonal::name;

struct Rows {
  Tensor flat;  // (rows, n)
  at::IntArrayRef batch;
};
inline Rows rows_of(const Tensor& diag, int64_t event_ndim) {
  check_floating(op, "diag", diag);
  TORCH_CHECK_VALUE(event_ndim >= 0 && event_ndim <= diag.dim(), op,
                    ": `event_ndim` must be between 0 and the ", diag.dim(),
                    " dimensions of `diag`, got ", event_ndim);
  const auto batch = diag.sizes().slice(0, diag.dim() - event_ndim);
  const auto event = diag.sizes().slice(diag.dim() - event_ndim);
  return {diag.reshape({c10::multiply_integers(batch), c10::multiply_integers(event)}), batch};
}

inline LogDetArgs arguments(const Tensor& flat) {
  LogDetArgs a;
  a.diag = flat.data_ptr();
  a.dtype = cpu_dtype(flat.scalar_type());
  a.wide = cpu_dtype(wide(flat.scalar_type()));
  a.rows = flat.size(0);
  a.n = flat.size(1);
  a.row_stride = flat.stride(0);
  a.stride = flat.stride(1);
  return a;
}

// A kernel's arguments with its result and the tensors they point into.
struct Call {
  LogDetArgs args;
  Tensor result;
  Tensor flat, grads;
};

inline Call forward(const Tensor& diag, int64_t event_ndim) {
  Rows rows = rows_of(diag, event_ndim);
  Tensor result = at::empty(rows.batch, diag.options().dtype(wide(diag.scalar_type())));
  LogDetArgs a = arguments(rows.flat);
  a.log_det = result.data_ptr();
  return {a, std::move(result), std::move(rows.flat), {}};
}

inline Call backward(const Tensor& grad_log_det, const Tensor& diag, int64_t event_ndim) {
  Rows rows = rows_of(diag, event_ndim);
  Tensor result = at::empty(diag.sizes(), diag.options());
  check_gradient(op, "grad_log_det", grad_log_det, rows.batch, wide(diag.scalar_type()), diag);
  Tensor grads = grad_log_det.reshape({rows.flat.size(0)});
  LogDetArgs a = arguments(rows.flat);
  a.grad_log_det = grads.data_ptr();
  a.grad_stride = grads.stride(0);
  a.grad_diag = result.data_ptr();
  return {a, std::move(result), std::move(rows.flat), std::move(grads)};
}

}  // namespace log_det
}  // namespace bindings
}  // namespace fk
