// identity_split: the channels that a coupling keeps.
#pragma once

#include <ATen/core/Tensor.h>

#include <string_view>
#include <tuple>

namespace fk {
namespace bindings {

// Channels `start`, `start + step`, ... before `end`.
template <class Int>
struct ChannelRange {
  Int start, end;
  int64_t step;
};
using Channels = ChannelRange<int64_t>;

inline at::Tensor channels_of(const at::Tensor& x, const Channels& c) {
  return x.slice(1, c.start, c.end, c.step);
}

// Those that a coupling of `coupled` channels of x keeps; errors begin with `op`.
ChannelRange<c10::SymInt> kept_channels(const char* op, const at::Tensor& x,
                                        const c10::SymInt& coupled, std::string_view transform);
inline Channels expect_int(const ChannelRange<c10::SymInt>& c) {
  return {c.start.expect_int(), c.end.expect_int(), c.step};
}

// (the channels other than the `coupled` ones that `transform` maps, x), as one node.
std::tuple<at::Tensor, at::Tensor> identity_split(const at::Tensor& x, c10::SymInt coupled,
                                                  std::string_view transform);

// `grad` with the gradient of some of its channels added: in place where the caller alone holds
// `grad` and no graph is wanted. Either may be undefined.
at::Tensor add_channels(at::Tensor grad, const at::Tensor& of_channels, const Channels& channels,
                        c10::SymIntArrayRef sizes);

}  // namespace bindings
}  // namespace fk
