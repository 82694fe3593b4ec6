// The choices of an affine coupling, shared by every floor.
#pragma once

namespace fk {

enum class ScaleFn : int { exp, tanh, softclip, atan, sigmoid, inv_sigmoid, softplus };
constexpr int scale_fn_count = 7;

}  // namespace fk
