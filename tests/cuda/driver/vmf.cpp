// The von Mises-Fisher densities: one mean direction and concentration for all rows, or one a row.
#include "../../../csrc/cpu/vmf.h"

#include <math.h>

#include "../../../csrc/bindings/bessel_plan.h"
#include "../../../csrc/cuda/vmf.h"
#include "cases.h"
#include "device_api.h"

namespace driver {
namespace {

fk::RowView operand(Operand o) { return o.as<fk::RowView>(); }

template <bool Latent>
std::unique_ptr<Case> make(const Spec& spec) {
  auto owned = std::make_unique<Case>(spec);
  Case& c = *owned;
  const bool is_each = spec.note == "each";
  // A size's width is that of the points.
  const int64_t p = Latent ? spec.width + 1 : spec.width;
  const Sample one = is_each ? c.sample() : Sample{1, 1, 0};
  const Fill points = Latent ? normals(1, 1 / sqrt(double(spec.width))) : units(1);
  Matrix& x = c.input("x", spec.dtype, spec.width, points);
  Matrix& loc = c.input("loc", spec.dtype, p, one, units(2));
  Matrix& kappa =
      c.input("concentration", spec.dtype, 1, one, uniforms(3, 0.2 * double(p), 2.0 * double(p)));
  const auto single = fk::bindings::bessel_plan<float>(0.5 * double(p) - 1);
  const auto twofold = fk::bindings::bessel_plan<double>(0.5 * double(p) - 1);
  const auto arguments = [=, &c, &x, &loc, &kappa](Where where) {
    fk::VmfArgs a;
    a.rows = c.rows(where);
    a.dim = p;
    a.stereographic = Latent;
    a.x = operand(x.at(where));
    a.loc = operand(is_each ? loc.at(where) : loc.shared(where));
    a.kappa = operand(is_each ? kappa.at(where) : kappa.shared(where));
    a.log_uniform = fk::bindings::log_uniform_density(double(p));
    a.wide = wide(x.at(where).dtype);
    a.plan = a.wide == DType::f64 ? static_cast<const void*>(twofold.get()) : single.get();
    return a;
  };
  if (!c.is_backward()) {
    Matrix& out = c.output("log_prob", c.wide(), 1);
    const auto whole = [&out, arguments](Where where) {
      fk::VmfArgs a = arguments(where);
      a.out = out.at(where).base;
      return a;
    };
    c.launch = [whole](const fk::cuda::LaunchContext& context) {
      fk::cuda::vmf_forward(whole(Where::device), context);
    };
    c.reference = [whole] {
      const fk::VmfArgs a = whole(Where::host);
      fk::cpu::vmf_forward(a, 0, blocks_of(a.rows, fk::vmf_block_rows));
    };
    return owned;
  }
  const bool is_whole = c.sample().count() == spec.rows;
  // Sums over blocks of rows, as many as the device likes; only the sum of all is compared.
  const bool wants_loc = spec.note != "no gradient in loc";
  fk::VmfArgs shape = arguments(Where::device);
  shape.sum_grad_loc = !is_each && wants_loc;
  const int64_t block = fk::cuda::vmf_block(shape, device::context());
  const int64_t sums = blocks_of(spec.rows, block);
  const int64_t host_sums = blocks_of(c.rows(Where::host), fk::vmf_block_rows);
  Matrix& grad = c.input("grad", c.wide(), 1, normals(4));
  Matrix& grad_x = c.output("grad_x", spec.dtype, spec.width);
  Matrix& grad_kappa = c.output("grad_concentration", c.wide(), 1);
  Matrix* grad_loc = nullptr;
  auto host_loc = std::make_shared<std::vector<double>>();
  if (wants_loc && is_each) grad_loc = &c.output("grad_loc", c.wide(), p);
  if (wants_loc && !is_each) {
    // Where the reference sees some rows only, their sum says nothing of the sum of all.
    grad_loc = is_whole ? &c.output("grad_loc", c.wide(), p, {sums, sums, 0})
                        : &c.scratch(c.wide(), sums, p);
    grad_loc->is_summed = true;
    host_loc->resize(size_t(host_sums * p));
  }
  const auto whole = [=, &grad, &grad_x, &grad_kappa](Where where) {
    fk::VmfArgs a = arguments(where);
    a.grad = operand(grad.at(where));
    a.grad_x = grad_x.at(where).base;
    a.grad_kappa = grad_kappa.at(where).base;
    a.sum_grad_loc = !is_each && wants_loc;
    if (grad_loc) a.grad_loc = grad_loc->at(where).base;
    if (grad_loc && !is_each && where == Where::host) a.grad_loc = host_loc->data();
    if (where == Where::device) a.block_rows = block;
    return a;
  };
  c.launch = [whole](const fk::cuda::LaunchContext& context) {
    fk::cuda::vmf_backward(whole(Where::device), context);
  };
  c.reference = [=] {
    const fk::VmfArgs a = whole(Where::host);
    fk::cpu::vmf_backward(a, 0, blocks_of(a.rows, fk::vmf_block_rows));
    if (grad_loc && !is_each && is_whole) grad_loc->host() = *host_loc;
  };
  return owned;
}

}  // namespace

Op vmf_log_prob() {
  return {"vmf_log_prob", {"", "each", "no gradient in loc"}, both_directions, false, every_dtype,
          make<false>};
}
Op stereographic_vmf_log_prob() {
  return {"stereographic_vmf_log_prob",
          {"", "each", "no gradient in loc"},
          both_directions,
          false,
          every_dtype,
          make<true>};
}

}  // namespace driver
