// Numbers and flags from Python, taken for what they are.
//
// pybind11 takes anything with a truth value for a bool ("no" is true) and anything with a float
// value for a double: of a tensor that loses its gradient.  These take neither.
#pragma once

#include <torch/csrc/autograd/python_variable.h>
#include <torch/csrc/utils/pybind.h>

#include <type_traits>

namespace fk {
namespace bindings {

struct Real {
  double value = 0;
  operator double() const { return value; }
};
struct Flag {
  bool value = false;
  operator bool() const { return value; }
};

// The type that Python's argument is taken as.
template <class A>
using Given = std::conditional_t<std::is_same_v<A, double>, Real,
                                 std::conditional_t<std::is_same_v<A, bool>, Flag, A>>;

// A function of these types, for pybind11.
template <class Signature>
struct FromPython;
template <class R, class... A>
struct FromPython<R(A...)> {
  template <R (*function)(A...)>
  static R call(Given<A>... args) {
    return function(args...);
  }
};

}  // namespace bindings
}  // namespace fk

namespace pybind11 {
namespace detail {

template <>
struct type_caster<fk::bindings::Real> {
  PYBIND11_TYPE_CASTER(fk::bindings::Real, const_name("float"));
  bool load(handle source, bool) {
    PyObject* object = source.ptr();
    if (!PyFloat_Check(object) && (PyBool_Check(object) || THPVariable_Check(object))) return false;
    value.value = PyFloat_AsDouble(object);
    if (!PyErr_Occurred()) return true;
    PyErr_Clear();
    return false;
  }
};

template <>
struct type_caster<fk::bindings::Flag> {
  PYBIND11_TYPE_CASTER(fk::bindings::Flag, const_name("bool"));
  bool load(handle source, bool) {
    type_caster<bool> caster;
    if (!caster.load(source, /*convert=*/false)) return false;
    value.value = static_cast<bool>(caster);
    return true;
  }
};

}  // namespace detail
}  // namespace pybind11
