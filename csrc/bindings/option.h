// Options by name: see args/options.h for their lists.
#pragma once

#include <c10/util/Exception.h>

#include <string>
#include <string_view>

#include "../args/options.h"

namespace fk {
namespace bindings {

template <class Option>
std::string names_of() {
  std::string all;
  for (const char* name : OptionNames<Option>::names)
    all += (all.empty() ? "" : ", ") + std::string(name);
  return all;
}

// The option of a name, or an error that lists the names.
template <class Option>
Option parse_option(const char* op, const char* argument, std::string_view given) {
  int i = 0;
  for (const char* name : OptionNames<Option>::names) {
    if (given == name) return static_cast<Option>(i);
    ++i;
  }
  TORCH_CHECK_VALUE(false, op, ": `", argument, "` must be one of ", names_of<Option>(), ", got '",
                    given, "'");
}

}  // namespace bindings
}  // namespace fk
