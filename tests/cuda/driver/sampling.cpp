// tangent_normal and vmf_sample_cosine: their random numbers are those of a seed and a row.
#include <math.h>

#include "../../../csrc/bindings/bessel_plan.h"
#include "../../../csrc/cpu/tangent_normal.h"
#include "../../../csrc/cpu/vmf_sample.h"
#include "../../../csrc/cuda/tangent_normal.h"
#include "../../../csrc/cuda/vmf_sample.h"
#include "cases.h"
#include "device_api.h"

namespace driver {
namespace {

fk::RowView operand(Operand o) { return o.as<fk::RowView>(); }

// A seed for every `rows_a_seed` rows, here and there.
struct Seeds {
  std::vector<int64_t> host;
  Memory device;

  explicit Seeds(int64_t count) : host(size_t(count)), device(size_t(count) * sizeof(int64_t)) {
    for (int64_t i = 0; i < count; ++i) host[size_t(i)] = 20240229 + 7919 * i;
    device::upload(device.data(), host.data(), size_t(count) * sizeof(int64_t));
  }
  fk::RowSeeds at(Where where, int64_t rows_a_seed) const {
    const void* memory =
        where == Where::host ? static_cast<const void*>(host.data()) : device.data();
    return {static_cast<const int64_t*>(memory), rows_a_seed};
  }
};

std::unique_ptr<Case> make_tangent_normal(const Spec& spec) {
  auto owned = std::make_unique<Case>(spec);
  Case& c = *owned;
  c.with_tail = false;  // a row's numbers depend on its place
  const bool is_each = spec.note == "each";
  const int64_t p = spec.width, loc_rows = is_each ? spec.rows : 1;
  const int64_t rows_a_seed = is_each && spec.rows % 2 == 0 ? spec.rows / 2 : spec.rows;
  auto seeds = std::make_shared<Seeds>(rows_a_seed ? spec.rows / rows_a_seed : 1);
  const Sample axes = is_each ? c.sample() : Sample{1, 1, 0};
  const auto angles = [](double (*function)(double)) -> Fill {
    return [=](int64_t row, double* values, int64_t width) {
      for (int64_t i = 0; i < width; ++i) values[i] = function(0.1 + 2.9 * uniform(5, row, i));
    };
  };
  Matrix& loc = c.input("loc", spec.dtype, p, axes, units(1));
  Matrix& cosine = c.input("cosine", spec.dtype, 1, angles([](double x) { return cos(x); }));
  Matrix& sine = c.input("sine", spec.dtype, 1, angles([](double x) { return sin(x); }));
  const auto arguments = [=, &c, &loc, &cosine, &sine](Where where) {
    fk::TangentNormalArgs a;
    a.rows = c.rows(where);
    a.dim = p;
    a.loc_rows = is_each ? a.rows : loc_rows;
    a.loc = operand(loc.at(where));
    a.cosine = operand(cosine.at(where));
    a.sine = operand(sine.at(where));
    a.random = seeds->at(where, rows_a_seed ? rows_a_seed : 1);
    a.wide = wide(loc.at(where).dtype);
    return a;
  };
  if (!c.is_backward()) {
    Matrix& out = c.output("out", spec.dtype, p);
    const auto whole = [&out, arguments](Where where) {
      fk::TangentNormalArgs a = arguments(where);
      a.out = operand(out.at(where));
      return a;
    };
    c.launch = [whole](const fk::cuda::LaunchContext& context) {
      fk::cuda::tangent_normal_forward(whole(Where::device), context);
    };
    c.reference = [whole] {
      const fk::TangentNormalArgs a = whole(Where::host);
      fk::cpu::tangent_normal_forward(a, 0, blocks_of(a.rows, fk::vmf_block_rows));
    };
    return owned;
  }
  const bool is_whole = c.sample().count() == spec.rows;
  Matrix& grad = c.input("grad", spec.dtype, p, normals(4));
  fk::TangentNormalArgs shape = arguments(Where::device);
  shape.grad = operand(grad.at(Where::device));
  shape.sum_grad_loc = loc_rows == 1;
  const int64_t block = fk::cuda::tangent_normal_block(shape, device::context());
  const bool is_summed = loc_rows == 1;
  const int64_t sums = blocks_of(spec.rows, block);
  Matrix& grad_cosine = c.output("grad_cosine", c.wide(), 1);
  Matrix& grad_sine = c.output("grad_sine", c.wide(), 1);
  Matrix* grad_loc = !is_summed ? &c.output("grad_loc", c.wide(), p)
                     : is_whole ? &c.output("grad_loc", c.wide(), p, {sums, sums, 0})
                                : &c.scratch(c.wide(), sums, p);
  grad_loc->is_summed = is_summed;
  auto host_loc = std::make_shared<std::vector<double>>(
      size_t(blocks_of(c.rows(Where::host), fk::vmf_block_rows) * p));
  const auto whole = [=, &grad, &grad_cosine, &grad_sine](Where where) {
    fk::TangentNormalArgs a = arguments(where);
    a.grad = operand(grad.at(where));
    a.grad_cosine = grad_cosine.at(where).base;
    a.grad_sine = grad_sine.at(where).base;
    a.sum_grad_loc = is_summed;
    const bool apart = is_summed && where == Where::host;
    a.grad_loc = apart ? host_loc->data() : grad_loc->at(where).base;
    if (where == Where::device) a.block_rows = block;
    return a;
  };
  c.launch = [whole](const fk::cuda::LaunchContext& context) {
    fk::cuda::tangent_normal_backward(whole(Where::device), context);
  };
  c.reference = [=] {
    const fk::TangentNormalArgs a = whole(Where::host);
    fk::cpu::tangent_normal_backward(a, 0, blocks_of(a.rows, fk::vmf_block_rows));
    if (is_summed && is_whole) grad_loc->host() = *host_loc;
  };
  return owned;
}

std::unique_ptr<Case> make_cosine(const Spec& spec) {
  auto owned = std::make_unique<Case>(spec);
  Case& c = *owned;
  c.with_tail = false;
  const bool slopes = spec.note == "slopes";
  const double p = double(spec.width);
  auto seeds = std::make_shared<Seeds>(1);
  Matrix& kappa = c.input("concentration", spec.dtype, 1, uniforms(1, 0.2 * p, 2 * p));
  Matrix& cosine = c.output("cosine", c.wide(), 1);
  Matrix& sine = c.output("sine", c.wide(), 1);
  Matrix* slope = slopes ? &c.output("slope", c.wide(), 1) : nullptr;
  Matrix* bend = slopes ? &c.output("bend", c.wide(), 1) : nullptr;
  // Its largest term is slope (A - w), of which less may be left.
  if (slopes) bend->least_scale = pow(p, -1.5);
  const auto plan = fk::bindings::bessel_plan<double>(0.5 * p - 1);
  const auto arguments = [=, &c, &kappa, &cosine, &sine](Where where) {
    fk::VmfSampleCosineArgs a;
    a.rows = c.rows(where);
    a.dim = c.spec.width;
    a.kappa = operand(kappa.at(where));
    a.random = seeds->at(where, c.spec.rows > 0 ? c.spec.rows : 1);
    a.wide = wide(kappa.at(where).dtype);
    a.cosine = cosine.at(where).base;
    a.sine = sine.at(where).base;
    if (slopes) {
      a.plan = plan.get();
      a.slope = slope->at(where).base;
      a.bend = bend->at(where).base;
    }
    return a;
  };
  c.launch = [arguments](const fk::cuda::LaunchContext& context) {
    fk::cuda::vmf_sample_cosine(arguments(Where::device), context);
  };
  c.reference = [arguments] {
    const fk::VmfSampleCosineArgs a = arguments(Where::host);
    fk::cpu::vmf_sample_cosine(a, 0, a.rows);
  };
  return owned;
}

}  // namespace

Op tangent_normal() {
  return {"tangent_normal", {"", "each"}, both_directions, false, every_dtype, make_tangent_normal};
}
Op vmf_sample_cosine() {
  return {"vmf_sample_cosine", {"", "slopes"}, {Direction::forward}, false,
          every_dtype,         make_cosine};
}

}  // namespace driver
