// vmf_mixture: matrices with a row for each component, a column for each point.
#include "../../../csrc/ops/vmf_mixture.h"

#include <algorithm>

#include "cases.h"

namespace driver {
namespace {

// The rows of a case are points; its width, the number of components.
std::unique_ptr<Case> make_vmf_mixture(const Spec& spec) {
  auto owned = std::make_unique<Case>(spec);
  Case& c = *owned;
  c.spec.layout = {};  // one stride for all
  const int64_t points = spec.rows, k = std::clamp<int64_t>(spec.width, 1, 64);
  const bool each = spec.note == "responsibilities", sums = spec.note == "statistics";
  const bool backward = c.is_backward(), of_sums = backward && sums;
  const int64_t rows = of_sums ? 2 * k : k;
  const Sample all{k, k, 0}, one{1, 1, 0}, twice{rows, rows, 0};
  Matrix& products = c.input("products", spec.dtype, points, twice, uniforms(1, -1, 1));
  Matrix& kappa = c.input("kappa", spec.dtype, k, one, uniforms(2, 0, 20));
  Matrix& offset = c.input("offset", spec.dtype, k, one, uniforms(3, -5, 0));
  Matrix& common = c.input("common", DType::f64, 1, one, uniforms(4, 2, 3));
  Matrix* grad = backward || sums ? &c.input("grad", spec.dtype, points, one, normals(5)) : nullptr;
  Matrix* grad_log_r =
      backward && each ? &c.input("grad_log_r", spec.dtype, points, all, normals(6)) : nullptr;
  Matrix* log_prob = backward ? nullptr : &c.output("log_prob", spec.dtype, points, one);
  Matrix* weights = of_sums ? &c.input("weights", spec.dtype, points, one, normals(7)) : nullptr;
  Matrix* grad_counts = of_sums ? &c.input("grad_counts", spec.dtype, k, one, normals(8)) : nullptr;
  const bool makes_matrix = backward || each || sums;
  Matrix* out = makes_matrix ? &c.output("out", spec.dtype, points, twice) : nullptr;
  Matrix* grad_weights = of_sums ? &c.output("grad_weights", spec.dtype, points, one) : nullptr;
  Matrix* along = backward ? &c.output("along", spec.dtype, points, all) : nullptr;
  const auto arguments = [=, &products, &kappa, &offset, &common](Where where) {
    const auto base = [where](Matrix* m) { return m == nullptr ? nullptr : m->at(where).base; };
    fk::VmfMixtureArgs a;
    a.components = k;
    a.points = a.stride = points;
    a.wide = products.at(where).dtype;
    a.products = base(&products);
    a.kappa = base(&kappa);
    a.offset = base(&offset);
    a.common = static_cast<const double*>(base(&common));
    a.grad = base(grad);
    a.grad_log_r = base(grad_log_r);
    a.log_prob = base(log_prob);
    a.out = base(out);
    a.along = base(along);
    a.weights = base(weights);
    a.grad_counts = base(grad_counts);
    a.grad_weights = base(grad_weights);
    return a;
  };
  c.launch = [arguments](const fk::cuda::LaunchContext& context) {
    fk::cuda::vmf_mixture(arguments(Where::device), context);
  };
  c.reference = [arguments] {
    const fk::VmfMixtureArgs a = arguments(Where::host);
    for (int64_t at = 0; at < a.points; ++at) {
      double result[1] = {a.grad == nullptr ? 0 : static_cast<const double*>(a.grad)[at]};
      double weight[1] = {a.weights == nullptr ? 0 : static_cast<const double*>(a.weights)[at]};
      fk::VmfMixturePoints<double, 1>{a, at}.run(result, weight);
      if (a.log_prob != nullptr) static_cast<double*>(a.log_prob)[at] = result[0];
      if (a.weights != nullptr) static_cast<double*>(a.grad_weights)[at] = weight[0];
    }
  };
  return owned;
}

}  // namespace

Op vmf_mixture() {
  return {"vmf_mixture",
          {"", "responsibilities", "statistics"},
          both_directions,
          false,
          {DType::f32, DType::f64},
          make_vmf_mixture};
}

}  // namespace driver
