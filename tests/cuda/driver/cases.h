// A case: one kernel's call on operands of its own, beside the same call on the CPU's kernels in
// float64, which read the same argument structs.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "../../../csrc/engine/cuda/context.h"
#include "matrix.h"

namespace driver {

enum class Direction { forward, backward };

// What a case is to be made of.
struct Spec {
  Direction direction = Direction::forward;
  DType dtype = DType::f32;
  int64_t rows = 0, width = 0;  // of the op's first argument
  std::string note;             // an option, in the words of `variants`
  Layout layout;                // of the inputs
  int64_t most = 1 << 20;       // rows that the reference sees
};

class Case {
 public:
  explicit Case(const Spec& spec) : spec(spec) {}
  Case(const Case&) = delete;

  // An operand; the reference sees the rows of `sample`.
  Matrix& input(const char* name, DType dtype, int64_t width, Sample sample, const Fill& fill);
  Matrix& input(const char* name, DType dtype, int64_t width, const Fill& fill) {
    return input(name, dtype, width, sample(), fill);
  }
  Matrix& output(const char* name, DType dtype, int64_t width, Sample sample);
  Matrix& output(const char* name, DType dtype, int64_t width) {
    return output(name, dtype, width, sample());
  }
  // Memory between two kernels of a call, not a result.
  Matrix& scratch(DType dtype, int64_t rows, int64_t width);

  Sample sample() const { return Sample::of(spec.rows, spec.most, with_tail); }
  bool is_backward() const { return spec.direction == Direction::backward; }
  DType wide() const { return driver::wide(spec.dtype); }
  int64_t rows(Where where) const { return where == Where::device ? spec.rows : sample().count(); }

  void poison();
  void run() { launch(context); }
  // What is wrong after a run, if anything; the largest error and what is allowed.
  std::string problem(double& error, double& allowed);
  size_t bytes() const;  // of all inputs and outputs once
  Matrix& first_output() { return *outputs_.front(); }

  Spec spec;
  bool with_tail = true;  // the sample: the last rows as well as the first
  fk::cuda::LaunchContext context;
  std::function<void(const fk::cuda::LaunchContext&)> launch;
  std::function<void()> reference;

 private:
  std::vector<std::unique_ptr<Matrix>> inputs_, outputs_, scratch_;
};

// An op: the name of its rows, its variants, and how a case is made.
struct Op {
  std::string name;
  std::vector<std::string> notes;  // the variants that correctness is tried in; the first is timed
  std::vector<Direction> directions;
  bool is_elementwise = false;  // no rows: sizes are counts
  std::vector<DType> dtypes;
  std::unique_ptr<Case> (*make)(const Spec&);
};

const std::vector<Op>& ops();

inline int64_t blocks_of(int64_t rows, int64_t block) { return (rows + block - 1) / block; }

const std::vector<DType> every_dtype = {DType::f32, DType::f64, DType::f16, DType::bf16};
const std::vector<Direction> both_directions = {Direction::forward, Direction::backward};

// One of each op's file.
Op affine_coupling();
Op affine_coupling_split();
Op bessel();
Op bessel_order();
Op log_det_diagonal();
Op rational_quadratic_spline();
Op slerp();
Op stereographic();
Op stereographic_inverse();
Op stereographic_vmf_log_prob();
Op tangent_normal();
Op vmf_log_prob();
Op vmf_mixture();
Op vmf_sample_cosine();

}  // namespace driver
