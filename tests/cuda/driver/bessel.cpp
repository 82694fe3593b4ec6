// The Bessel family: every function at one order, and those that know an order an element.
#include "../../../csrc/cpu/bessel.h"

#include <math.h>

#include <map>

#include "../../../csrc/bindings/bessel_plan.h"
#include "../../../csrc/cuda/bessel.h"
#include "cases.h"

namespace driver {
namespace {

using fk::BesselFunction;

const std::map<std::string, BesselFunction> functions = {
    {"log_normalizer", BesselFunction::log_normalizer},
    {"peak", BesselFunction::peak},
    {"divergence", BesselFunction::divergence},
    {"ratio", BesselFunction::ratio},
    {"ratio_complement", BesselFunction::ratio_complement},
    {"ratio_slope", BesselFunction::ratio_slope},
    {"concentration", BesselFunction::concentration},
    {"concentration_complement", BesselFunction::concentration_complement},
    {"log_iv", BesselFunction::log_iv},
    {"log_iv_slope", BesselFunction::log_iv_slope},
};

// A note is a function and, for one order, where the series begins or ends: "ratio 391.5".
struct Chosen {
  BesselFunction function;
  double order;
};
Chosen chosen_by(const std::string& note) {
  const size_t space = note.find(' ');
  return {functions.at(note.substr(0, space)),
          space == std::string::npos ? 0 : atof(note.c_str() + space)};
}

template <bool EachOrder>
std::unique_ptr<Case> make(const Spec& spec) {
  auto owned = std::make_unique<Case>(spec);
  Case& c = *owned;
  const Chosen chosen = chosen_by(spec.note);
  const bool is_inverse = chosen.function == BesselFunction::concentration ||
                          chosen.function == BesselFunction::concentration_complement;
  // Away from the ends of (0, 1), where the inverse has no bounded condition; else from the first
  // region of each function to the last.
  const Fill fill = [=](int64_t row, double* values, int64_t width) {
    for (int64_t i = 0; i < width; ++i) {
      const double u = uniform(1, row, i);
      values[i] = is_inverse ? 0.2 + 0.4 * u : 0.2 * pow(5000, u);
    }
  };
  // Contiguous memory is all that these kernels take.
  c.spec.layout = {c.spec.layout.offset, 0, 1};
  Matrix& x = c.input("x", spec.dtype, 1, fill);
  Matrix* order = EachOrder ? &c.input("order", c.wide(), 1, uniforms(2, 0.5, 60)) : nullptr;
  Matrix* grad = c.is_backward() ? &c.input("grad", c.wide(), 1, uniforms(3, 0.5, 1.5)) : nullptr;
  Matrix& out = c.output("out", c.is_backward() ? spec.dtype : c.wide(), 1);
  const auto single = fk::bindings::bessel_plan<float>(chosen.order);
  const auto twofold = fk::bindings::bessel_plan<double>(chosen.order);
  const auto arguments = [=, &x, &out](Where where) {
    fk::BesselArgs a;
    a.function = chosen.function;
    a.x = x.at(where).base;
    a.dtype = x.at(where).dtype;
    a.wide = wide(a.dtype);
    if (order) {
      a.order = order->at(where).base;
    } else {
      a.plan = a.wide == DType::f64 ? static_cast<const void*>(twofold.get()) : single.get();
    }
    if (grad) a.grad = grad->at(where).base;
    a.out = out.at(where).base;
    return a;
  };
  const bool backward = c.is_backward();
  c.launch = [&c, arguments, backward](const fk::cuda::LaunchContext& context) {
    const fk::BesselArgs a = arguments(Where::device);
    backward ? fk::cuda::bessel_backward(a, c.spec.rows, context)
             : fk::cuda::bessel_forward(a, c.spec.rows, context);
  };
  c.reference = [&c, arguments, backward] {
    const fk::BesselArgs a = arguments(Where::host);
    const int64_t n = c.rows(Where::host);
    backward ? fk::cpu::bessel_backward(a, 0, n) : fk::cpu::bessel_forward(a, 0, n);
  };
  return owned;
}

}  // namespace

Op bessel() {
  std::vector<std::string> notes = {"log_normalizer 391.5", "ratio 391.5"};
  for (const auto& [name, function] : functions)
    for (const char* order : {" 0.5", " 11", " 57.5", " 391.5"})
      if (name + order != notes[0] && name + order != notes[1]) notes.push_back(name + order);
  return {"bessel", notes, both_directions, true, every_dtype, make<false>};
}
Op bessel_order() {
  return {"bessel_order",  {"log_iv", "log_iv_slope", "ratio", "ratio_slope"},
          both_directions, true,
          every_dtype,     make<true>};
}

}  // namespace driver
