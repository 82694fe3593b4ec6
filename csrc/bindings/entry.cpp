#include "entry.h"

namespace fk {
namespace bindings {

std::vector<Entry>& entries() {
  static std::vector<Entry> list;
  return list;
}

}  // namespace bindings
}  // namespace fk
