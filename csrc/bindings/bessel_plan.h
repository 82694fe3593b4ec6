// Plans of the Bessel functions, made once per order and kept.
#pragma once

#include <memory>

#include "../args/export.h"
#include "../math/bessel_plan.h"

namespace fk {
namespace bindings {

// The plan of order v; the pointer keeps it alive while a kernel runs.
template <class T>
FK_EXPORT std::shared_ptr<const BesselPlan<T>> bessel_plan(double v);

// log C_p(0) = log Gamma(p/2) - log 2 - (p/2) log pi: minus the log area of S^(p-1).
FK_EXPORT double log_uniform_density(double dim);

}  // namespace bindings
}  // namespace fk
