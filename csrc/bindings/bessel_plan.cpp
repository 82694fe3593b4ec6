#include "bessel_plan.h"

#include <cmath>
#include <mutex>
#include <unordered_map>

#include "../math/bessel_plan_build.h"

namespace fk {
namespace bindings {

template <class T>
std::shared_ptr<const BesselPlan<T>> bessel_plan(double v) {
  // A plan takes a few kilobytes and a fraction of a millisecond.
  constexpr size_t most = 1024;
  static std::mutex mutex;
  static std::unordered_map<double, std::shared_ptr<const BesselPlan<T>>> plans;
  const std::lock_guard<std::mutex> lock(mutex);
  auto& plan = plans[v];
  if (plan == nullptr) {
    if (plans.size() > most) {
      plans.clear();
      return plans[v] = std::make_shared<const BesselPlan<T>>(make_bessel_plan<T>(v));
    }
    plan = std::make_shared<const BesselPlan<T>>(make_bessel_plan<T>(v));
  }
  return plan;
}

template std::shared_ptr<const BesselPlan<float>> bessel_plan<float>(double);
template std::shared_ptr<const BesselPlan<double>> bessel_plan<double>(double);

double log_uniform_density(double dim) {
  const long double half = static_cast<long double>(dim) / 2;
  const long double log_pi = 1.1447298858494001741434273513530587L;
  const long double log_2 = 0.6931471805599453094172321214581766L;
  return static_cast<double>(plan::log_gamma(half) - log_2 - half * log_pi);
}

}  // namespace bindings
}  // namespace fk
