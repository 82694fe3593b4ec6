// `_C.<op>(...)`: the ops, without the boxing of torch.ops, for eager calls.
#include <torch/csrc/Exceptions.h>

#include <deque>
#include <map>
#include <string>

#include "arguments.h"
#include "module.h"

namespace fk {
namespace python {
namespace {

using bindings::Results;
using Overloads = std::vector<const Entry*>;

PyObject* wrap(Results& results) {
  if (results.size() == 1) return THPVariable_Wrap(std::move(results[0]));
  PyObject* tuple = PyTuple_New(static_cast<Py_ssize_t>(results.size()));
  if (tuple == nullptr) return nullptr;
  for (size_t i = 0; i < results.size(); ++i)
    PyTuple_SET_ITEM(tuple, static_cast<Py_ssize_t>(i), THPVariable_Wrap(std::move(results[i])));
  return tuple;
}

PyObject* call(PyObject* self, PyObject* const* given, Py_ssize_t count) {
  HANDLE_TH_ERRORS
  const auto& overloads = *static_cast<const Overloads*>(PyCapsule_GetPointer(self, nullptr));
  for (const Entry* entry : overloads) {
    Call arguments;
    if (!arguments.load(*entry, given, count)) continue;
    Results results;
    {
      const pybind11::gil_scoped_release no_gil;
      entry->call(arguments.arguments(), results);
    }
    return wrap(results);
  }
  return PyErr_Format(PyExc_TypeError, "%s: an argument is missing or of a wrong type",
                      overloads.front()->name);
  END_HANDLE_TH_ERRORS
}

}  // namespace

void add_entries(pybind11::module_& m) {
  // Python keeps pointers to both.
  static std::map<std::string, Overloads> by_name;
  static std::deque<PyMethodDef> methods;
  if (by_name.empty())
    for (const Entry& entry : bindings::entries()) by_name[entry.name].push_back(&entry);
  for (auto& [name, overloads] : by_name) {
    methods.push_back({name.c_str(), reinterpret_cast<PyCFunction>(&call), METH_FASTCALL, nullptr});
    const pybind11::capsule self(&overloads);
    m.attr(name.c_str()) = pybind11::reinterpret_steal<pybind11::object>(
        PyCFunction_NewEx(&methods.back(), self.ptr(), nullptr));
  }
}

}  // namespace python
}  // namespace fk
