// sum log|d| row by row and its gradient: row programs; few long rows are divided into parts.
#include "log_det.h"

#include "../engine/cuda/row_kernel.h"
#include "../engine/cuda/sum_parts.h"
#include "../ops/log_det.h"

namespace fk {
namespace cuda {

int64_t log_det_parts(const LogDetArgs& a, const LaunchContext& context) {
  return parts_for(context, a.rows, a.n);
}

void log_det_forward(const LogDetArgs& a, int64_t parts, void* sums, const LaunchContext& context) {
  LogDetArgs each = a;
  if (parts > 1) each.log_det = sums;
  a.wide == DType::f64 ? run_rows<LogDetProgram<double, false>, double>(each, {}, context, parts)
                       : run_rows<LogDetProgram<float, false>, float>(each, {}, context, parts);
  if (parts > 1) launch_sum_parts(context, a.wide, sums, a.rows, parts, a.log_det);
}

void log_det_backward(const LogDetArgs& a, int64_t parts, const LaunchContext& context) {
  a.wide == DType::f64 ? run_rows<LogDetProgram<double, true>, double>(a, {}, context, parts)
                       : run_rows<LogDetProgram<float, true>, float>(a, {}, context, parts);
}

}  // namespace cuda
}  // namespace fk
