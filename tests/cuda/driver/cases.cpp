#include "cases.h"

#include <math.h>
#include <stdio.h>

#include <algorithm>

#include "device_api.h"

namespace driver {
namespace {

// In units in the last place of the result's dtype, relative to the largest result: those of
// tests/ops/case.py.
double ulps(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 256 * 0x1p-52;
    case DType::f32:
      return 48 * 0x1p-23;
    case DType::f16:
      return 2 * 0x1p-10;
    case DType::bf16:
      return 2 * 0x1p-7;
  }
  return 0;
}

// Below it a dtype has fewer digits.
double smallest_normal(DType dtype) { return dtype == DType::f16 ? 0x1p-14 : 0x1p-126; }

std::string text(const char* format, const std::string& name, double a, double b) {
  char buffer[256];
  snprintf(buffer, sizeof(buffer), format, name.c_str(), a, b);
  return buffer;
}

std::vector<double> column_sums(const std::vector<double>& values, int64_t width) {
  std::vector<double> sums(size_t(width), 0.0);
  for (size_t i = 0; i < values.size(); ++i) sums[i % size_t(width)] += values[i];
  return sums;
}

}  // namespace

Matrix& Case::input(const char* name, DType dtype, int64_t width, Sample sample, const Fill& fill) {
  inputs_.push_back(std::make_unique<Matrix>(name, dtype, width, sample, spec.layout));
  inputs_.back()->set(fill);
  return *inputs_.back();
}
Matrix& Case::output(const char* name, DType dtype, int64_t width, Sample sample) {
  outputs_.push_back(std::make_unique<Matrix>(name, dtype, width, sample, Layout{}));
  // A gradient is a sum of several terms.
  outputs_.back()->tolerance = is_backward() ? 4 : 1;
  return *outputs_.back();
}
Matrix& Case::scratch(DType dtype, int64_t rows, int64_t width) {
  scratch_.push_back(
      std::make_unique<Matrix>("scratch", dtype, width, Sample{rows, 0, 0}, Layout{}));
  scratch_.back()->poison();  // it may be asked for by the launch
  return *scratch_.back();
}

void Case::poison() {
  for (auto& m : outputs_) m->poison();
  for (auto& m : scratch_) m->poison();
}

size_t Case::bytes() const {
  size_t sum = 0;
  for (const auto* list : {&inputs_, &outputs_})
    for (const auto& m : *list) sum += m->bytes();
  return sum;
}

std::string Case::problem(double& error, double& allowed) {
  device::check_launch("launch");
  device::synchronize();
  error = allowed = 0;
  for (const auto* list : {&inputs_, &outputs_, &scratch_})
    for (const auto& m : *list)
      if (m->is_overrun()) return "memory beside `" + m->name() + "` was written";
  reference();
  std::string found;
  for (auto& m : outputs_) {
    std::vector<double> got = m->read(), want = m->host();
    if (m->is_summed) {
      got = column_sums(got, m->width());
      want = column_sums(want, m->width());
    }
    double scale = 0;
    for (double w : want) scale = std::max(scale, fabs(w));
    const double limit = m->tolerance * ulps(m->dtype()) *
                         std::max({scale, m->least_scale, smallest_normal(m->dtype())});
    for (size_t i = 0; i < want.size(); ++i) {
      const double e = fabs(got[i] - want[i]);
      if (!(e <= limit) && found.empty())
        found = isfinite(got[i]) ? text("`%s`: error %.3g, allowed %.3g", m->name(), e, limit)
                                 : text("`%s`: element %.0f of the sample is not finite", m->name(),
                                        double(i), 0);
      // The worst of all outputs, each against its own limit.
      if (e * allowed >= error * limit) error = e, allowed = limit;
    }
  }
  return found;
}

const std::vector<Op>& ops() {
  static const std::vector<Op> all = {
      affine_coupling(),       affine_coupling_split(),      bessel(),         bessel_order(),
      log_det_diagonal(),      rational_quadratic_spline(),  slerp(),          stereographic(),
      stereographic_inverse(), stereographic_vmf_log_prob(), tangent_normal(), vmf_log_prob(),
      vmf_mixture(),           vmf_sample_cosine(),
  };
  return all;
}

}  // namespace driver
