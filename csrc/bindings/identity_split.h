// identity_split: the channels that a coupling keeps.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace fk {
namespace bindings {

// (the channels other than the `coupled` ones of the end `transform`, x), as one node.
std::tuple<at::Tensor, at::Tensor> identity_split(const at::Tensor& x, c10::SymInt coupled,
                                                  std::string_view transform);

// `grad` with the gradient of its channels from `start` added: in place where the caller alone
// holds `grad` and no graph is wanted. Either may be undefined.
at::Tensor add_channels(at::Tensor grad, const at::Tensor& of_channels, int64_t start,
                        c10::SymIntArrayRef sizes);

}  // namespace bindings
}  // namespace fk
