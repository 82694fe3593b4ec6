// Python's objects as the arguments of an entry, taken for what they are.
//
// Python lets anything with a truth value be a flag ("no" is true) and anything with a float value
// a number: of a tensor that loses its gradient. Here neither is taken.
#pragma once

#include <torch/csrc/autograd/python_variable.h>

#include <cstring>

#include "../bindings/entry.h"

namespace fk {
namespace python {

using bindings::Argument;
using bindings::Entry;
using bindings::Kind;

// A reference that is given up at the end of the scope.
struct Owned {
  PyObject* object;
  explicit Owned(PyObject* o) : object(o) {}
  Owned(const Owned&) = delete;
  ~Owned() { Py_XDECREF(object); }
};

// Each returns whether `object` is of the kind, and leaves no exception behind.

inline bool no_exception() {
  if (!PyErr_Occurred()) return true;
  PyErr_Clear();
  return false;
}

inline bool as_real(PyObject* object, double& value) {
  if (!PyFloat_Check(object) && (PyBool_Check(object) || THPVariable_Check(object))) return false;
  value = PyFloat_AsDouble(object);
  return no_exception();
}

inline bool as_integer(PyObject* object, int64_t& value) {
  if (!PyIndex_Check(object)) return false;
  const Owned index(PyNumber_Index(object));
  if (index.object != nullptr) value = PyLong_AsLongLong(index.object);
  return no_exception();
}

inline bool as_flag(PyObject* object, bool& value) {
  const char* type = Py_TYPE(object)->tp_name;
  if (!PyBool_Check(object) && std::strcmp(type, "numpy.bool") && std::strcmp(type, "numpy.bool_"))
    return false;
  value = PyObject_IsTrue(object) == 1;
  return no_exception();
}

inline bool as_text(PyObject* object, std::string_view& value) {
  if (!PyUnicode_Check(object)) return false;
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(object, &size);
  if (text != nullptr) value = {text, static_cast<size_t>(size)};
  return no_exception();
}

// The arguments of one call; holds what they refer to.
class Call {
 public:
  // Whether the objects are what the entry takes.
  bool load(const Entry& entry, PyObject* const* given, Py_ssize_t count) {
    if (static_cast<size_t>(count) != entry.kinds.size()) return false;
    arguments_.resize(count);
    for (Py_ssize_t i = 0; i < count; ++i)
      if (!load_one(entry.kinds[i], given[i], arguments_[i])) return false;
    return true;
  }
  const Argument* arguments() const { return arguments_.data(); }

 private:
  bool load_one(Kind kind, PyObject* object, Argument& a) {
    switch (kind) {
      case Kind::tensor:
        if (!THPVariable_Check(object)) return false;
        a.tensor = &THPVariable_Unpack(object);
        return true;
      case Kind::tensors:
        return load_tensors(object, a);
      case Kind::real:
        return as_real(object, a.real);
      case Kind::integer:
        return as_integer(object, a.integer);
      case Kind::integers:
        return load_integers(object, a);
      case Kind::flag:
        return as_flag(object, a.flag);
      case Kind::text:
        return as_text(object, a.text);
    }
    return false;
  }

  bool load_tensors(PyObject* object, Argument& a) {
    if (!PySequence_Check(object) || PyUnicode_Check(object) || THPVariable_Check(object))
      return false;
    const Owned sequence(PySequence_Fast(object, ""));
    if (sequence.object == nullptr) return no_exception();
    std::vector<at::Tensor>& list = tensors_.emplace_back();
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(sequence.object); ++i) {
      PyObject* one = PySequence_Fast_GET_ITEM(sequence.object, i);
      if (!THPVariable_Check(one)) return false;
      list.push_back(THPVariable_Unpack(one));
    }
    a.tensors = list;
    return true;
  }

  bool load_integers(PyObject* object, Argument& a) {
    if (!PyTuple_Check(object) && !PyList_Check(object)) return false;
    std::vector<int64_t>& list = integers_.emplace_back();
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(object); ++i)
      if (!as_integer(PySequence_Fast_GET_ITEM(object, i), list.emplace_back())) return false;
    a.integers = list;
    return true;
  }

  // The lists' elements stay where they are while further lists are added.
  c10::SmallVector<Argument, 16> arguments_;
  c10::SmallVector<std::vector<at::Tensor>, 2> tensors_;
  c10::SmallVector<std::vector<int64_t>, 4> integers_;
};

}  // namespace python
}  // namespace fk
