// What the parts of the Python module share.
#pragma once

#include <pybind11/pybind11.h>

namespace fk {
namespace python {

// Each adds its functions to the module.
void add_entries(pybind11::module_& m);        // the ops
void add_numpy(pybind11::module_& m);          // special functions on NumPy arrays
void add_bessel_tables(pybind11::module_& m);  // numbers behind the Bessel functions

}  // namespace python
}  // namespace fk
