// The functions of the Bessel family by name, shared by the torch and the NumPy face.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "../args/bessel.h"
#include "../args/export.h"

namespace fk {
namespace bindings {

struct BesselEntry {
  const char* function;  // as the dispatcher's op names it
  BesselFunction kernel;
  const char* op;        // the public op and
  const char* argument;  // its argument, for messages
  double lowest_order;
  bool density;    // add log C_p(0), p = 2 order + 2
  bool any_order;  // whether the order may differ from element to element
};

// Null for an unknown name.
FK_EXPORT const BesselEntry* find_bessel(std::string_view function);
FK_EXPORT std::vector<std::string> bessel_names();
// What the argument must be, for the message when it is not.
FK_EXPORT const char* bessel_domain(const BesselEntry& entry);

}  // namespace bindings
}  // namespace fk
