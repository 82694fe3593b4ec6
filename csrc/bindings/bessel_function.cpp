// The functions of the Bessel family by name.
#include "bessel_function.h"

namespace fk {
namespace bindings {

using F = BesselFunction;

namespace {

constexpr double ratio = -0.5;
const BesselEntry entries[] = {
    {"log_iv", F::log_iv, "log_iv", "x", 0, false, true},
    {"log_iv_slope", F::log_iv_slope, "log_iv", "x", 0, false, true},
    {"iv_ratio", F::ratio, "iv_ratio", "x", ratio, false, true},
    {"iv_ratio_slope", F::ratio_slope, "iv_ratio", "x", ratio, false, true},
    {"vmf_log_normalizer", F::log_normalizer, "vmf_log_normalizer", "kappa", 0, true, false},
    {"vmf_log_normalizer_relative", F::log_normalizer, "vmf_log_normalizer", "kappa", 0, false,
     false},
    {"vmf_log_peak", F::peak, "vmf_log_peak", "kappa", 0, true, false},
    {"vmf_divergence", F::divergence, "vmf_divergence", "kappa", 0, false, false},
    {"vmf_mean_resultant", F::ratio, "vmf_mean_resultant", "kappa", 0, false, false},
    {"vmf_mean_resultant_complement", F::ratio_complement, "vmf_mean_resultant", "kappa", 0, false,
     false},
    {"vmf_mean_resultant_slope", F::ratio_slope, "vmf_mean_resultant", "kappa", 0, false, false},
    {"vmf_concentration", F::concentration, "vmf_concentration", "r", 0, false, false},
    {"vmf_concentration_complement", F::concentration_complement, "vmf_concentration", "r", 0,
     false, false},
};

}  // namespace

const BesselEntry* find_bessel(std::string_view function) {
  for (const BesselEntry& e : entries)
    if (function == e.function) return &e;
  return nullptr;
}

std::vector<std::string> bessel_names() {
  std::vector<std::string> names;
  for (const BesselEntry& e : entries) names.emplace_back(e.function);
  return names;
}

const char* bessel_domain(const BesselEntry& entry) {
  const bool inverse =
      entry.kernel == F::concentration || entry.kernel == F::concentration_complement;
  return inverse ? "lie in [0, 1]" : "be >= 0";
}

}  // namespace bindings
}  // namespace fk
