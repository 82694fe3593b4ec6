// The special functions on NumPy arrays: no torch in the call.
#include <pybind11/numpy.h>

#include <string>

#include "../bindings/bessel_function.h"
#include "../bindings/bessel_plan.h"
#include "../cpu/bessel.h"
#include "module.h"

namespace fk {
namespace python {
namespace {

using bindings::bessel_domain;
using bindings::bessel_plan;
using bindings::BesselEntry;
using bindings::find_bessel;
using bindings::log_uniform_density;

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;

[[noreturn]] void outside(const BesselEntry& e) {
  throw py::value_error(std::string(e.op) + ": `" + e.argument + "` must " + bessel_domain(e));
}

template <class T>
BesselArgs arguments(const BesselEntry& e, const Array<T>& x, Array<T>& out) {
  BesselArgs a;
  a.function = e.kernel;
  a.x = x.data();
  a.out = out.mutable_data();
  a.dtype = a.wide = sizeof(T) == 8 ? DType::f64 : DType::f32;
  return a;
}

template <class T>
py::array evaluate(const std::string& function, const Array<T>& x, double order) {
  const BesselEntry* e = find_bessel(function);
  if (e == nullptr || !(order >= e->lowest_order))
    throw py::value_error("bessel: no function '" + function + "' of order " +
                          std::to_string(order));
  Array<T> out(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  BesselArgs a = arguments(*e, x, out);
  const auto plan = bessel_plan<T>(order);
  a.plan = plan.get();
  if (e->density) a.offset = log_uniform_density(2 * order + 2);
  bool inside = false;
  {
    py::gil_scoped_release release;
    inside = cpu::bessel_forward(a, 0, x.size());
  }
  if (!inside) outside(*e);
  return out;
}

template <class T>
py::array evaluate_each(const std::string& function, const Array<T>& x, const Array<T>& order) {
  const BesselEntry* e = find_bessel(function);
  if (e == nullptr || !e->any_order || order.size() != x.size())
    throw py::value_error("bessel: no function '" + function + "' of these orders");
  Array<T> out(std::vector<py::ssize_t>(x.shape(), x.shape() + x.ndim()));
  BesselArgs a = arguments(*e, x, out);
  a.order = order.data();
  bool inside = false;
  {
    py::gil_scoped_release release;
    inside = cpu::bessel_forward(a, 0, x.size());
  }
  if (!inside) outside(*e);
  return out;
}

}  // namespace

void add_numpy(py::module_& m) {
  using namespace pybind11::literals;
  m.def("numpy_bessel", &evaluate<double>, "function"_a, py::arg("x").noconvert(), "order"_a);
  m.def("numpy_bessel", &evaluate<float>, "function"_a, py::arg("x").noconvert(), "order"_a);
  m.def("numpy_bessel_order", &evaluate_each<double>, "function"_a, py::arg("x").noconvert(),
        py::arg("order").noconvert());
  m.def("numpy_bessel_order", &evaluate_each<float>, "function"_a, py::arg("x").noconvert(),
        py::arg("order").noconvert());
}

}  // namespace python
}  // namespace fk
