// The numbers behind the Bessel functions, for kernels that are not compiled here: plans
// at one order and the tables of Debye's expansion.
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "../bindings/bessel_plan.h"
#include "../math/debye_coefficients.h"
#include "module.h"

namespace fk {
namespace python {
namespace {

using bindings::bessel_plan;
using bindings::log_uniform_density;

template <class P>
std::vector<double> coefficients(const P& polynomial) {
  return {polynomial.c, polynomial.c + polynomial.count};
}

template <class T>
pybind11::dict plan_of(double order) {
  const auto plan = bessel_plan<T>(order);
  pybind11::dict d;
  d["v"] = double{plan->v};
  d["sigma"] = double{plan->sigma};
  d["inv_two_m"] = double{plan->inv_two_m};
  d["offset"] = double{plan->offset};
  d["log_gamma"] = double{plan->log_gamma};
  d["y_scale"] = double{plan->y_scale};
  d["has_series"] = plan->has_series;
  d["factored"] = plan->factored;
  d["log_uniform"] = log_uniform_density(2 * order + 2);
  d["p"] = coefficients(plan->p);
  d["e"] = coefficients(plan->e);
  d["m"] = coefficients(plan->m);
  d["n"] = coefficients(plan->n);
  d["w"] = coefficients(plan->w);
  d["t0"] = coefficients(plan->t0);
  d["t1"] = coefficients(plan->t1);
  d["t2"] = coefficients(plan->t2);
  return d;
}

// Polynomials 1, 2, ... of a table, constant terms first; see debye_coefficients.h.
std::vector<std::vector<double>> debye_table(const std::string& name) {
  const double* c = name == "d"   ? debye_d<double>()
                    : name == "e" ? debye_e<double>()
                    : name == "m" ? debye_m<double>()
                                  : nullptr;
  if (c == nullptr) throw pybind11::value_error("debye_table: no table '" + name + "'");
  std::vector<std::vector<double>> table;
  for (int k = 1; k <= debye_terms; ++k) {
    const int count = k + 1 + (name == "m" ? 1 : 0);
    table.emplace_back(c, c + count);
    c += count;
  }
  return table;
}

}  // namespace

void add_bessel_tables(pybind11::module_& m) {
  m.def("bessel_plan", [](double order, bool twofold) {
    return twofold ? plan_of<double>(order) : plan_of<float>(order);
  });
  m.def("debye_table", &debye_table);
}

}  // namespace python
}  // namespace fk
