// Argument checks: every message names the op, the argument, what was expected
// and what came.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cmath>
#include <string>
#include <string_view>

#include "../args/dtype.h"

namespace fk {
namespace bindings {

using at::Tensor;

inline bool is_supported(at::ScalarType t) {
  return t == at::kFloat || t == at::kDouble || t == at::kHalf || t == at::kBFloat16;
}

inline void check_dense(const char* op, const char* argument, const Tensor& t) {
  TORCH_CHECK_TYPE(t.defined(), op, ": `", argument, "` must be a tensor, got None");
  TORCH_CHECK_TYPE(!t.is_quantized(), op, ": `", argument,
                   "` must be a dense tensor, got a quantized one");
  TORCH_CHECK_TYPE(t.layout() == at::kStrided, op, ": `", argument,
                   "` must be a dense tensor, got layout ", t.layout());
}

inline void check_floating(const char* op, const char* argument, const Tensor& t) {
  check_dense(op, argument, t);
  TORCH_CHECK_TYPE(is_supported(t.scalar_type()), op, ": `", argument,
                   "` must be float16, bfloat16, float32 or float64, got ", t.scalar_type());
}

inline void check_same_device(const char* op, const char* argument, const Tensor& t,
                              const char* other, const Tensor& u) {
  TORCH_CHECK_VALUE(t.device() == u.device(), op, ": `", argument, "` must be on the device of `",
                    other, "` (", u.device(), "), got ", t.device());
}

inline void check_same_dtype(const char* op, const char* argument, const Tensor& t,
                             const char* other, const Tensor& u) {
  TORCH_CHECK_TYPE(t.scalar_type() == u.scalar_type(), op, ": `", argument,
                   "` must have the dtype of `", other, "` (", u.scalar_type(), "), got ",
                   t.scalar_type());
}

// Both float64, or both of at most float32: the kernels compute in one of the two.
inline void check_precision(const char* op, const char* argument, const Tensor& t,
                            const char* other, const Tensor& u) {
  TORCH_CHECK_TYPE((t.scalar_type() == at::kDouble) == (u.scalar_type() == at::kDouble), op, ": `",
                   argument, "` must have the dtype of `", other, "` (", u.scalar_type(),
                   ") or both be of at most float32, got ", t.scalar_type());
}

// What a backward op gets for one of the op's outputs: of that output's shape and dtype, on the
// device of `like`. Autograd passes nothing else; a direct call may.
inline void check_gradient(const char* op, const char* argument, const Tensor& grad,
                           at::IntArrayRef sizes, at::ScalarType dtype, const Tensor& like) {
  if (!grad.defined() || grad.layout() != at::kStrided)
    check_dense((std::string(op) + "_backward").c_str(), argument, grad);
  TORCH_CHECK_VALUE(grad.device() == like.device(), op, "_backward: `", argument,
                    "` must be on the device of the op's inputs (", like.device(), "), got ",
                    grad.device());
  TORCH_CHECK_TYPE(grad.scalar_type() == dtype, op, "_backward: `", argument,
                   "` must have the dtype of the op's output (", dtype, "), got ",
                   grad.scalar_type());
  TORCH_CHECK_VALUE(grad.sizes() == sizes, op, "_backward: `", argument,
                    "` must have the shape of the op's output ", sizes, ", got ", grad.sizes());
}

inline void check_positive(const char* op, const char* argument, double value) {
  TORCH_CHECK_VALUE(value > 0 && std::isfinite(value), op, ": `", argument,
                    "` must be a finite number > 0, got ", value);
}

// The dtype a kernel accumulates and returns log-dets in: never below float32.
inline at::ScalarType wide(at::ScalarType t) { return t == at::kDouble ? at::kDouble : at::kFloat; }

// t.to(dtype), without a call into torch where nothing is to do.
inline Tensor in_dtype(const Tensor& t, at::ScalarType dtype) {
  return t.scalar_type() == dtype ? t : t.to(dtype);
}

// Of a dtype that is_supported.
inline DType cpu_dtype(at::ScalarType t) {
  if (t == at::kDouble) return DType::f64;
  if (t == at::kHalf) return DType::f16;
  if (t == at::kBFloat16) return DType::bf16;
  TORCH_INTERNAL_ASSERT_DEBUG_ONLY(t == at::kFloat);
  return DType::f32;
}

// Elements that one task should at least have, so that small calls stay on one thread.
constexpr int64_t task_elements = 16384;
inline int64_t grain(int64_t elements_per_item) {
  return elements_per_item >= task_elements ? 1 : task_elements / (elements_per_item + 1) + 1;
}

}  // namespace bindings
}  // namespace fk
