// What the bindings include of torch, in one header that is compiled ahead of them: parsing it
// takes two thirds of the time of a binding. csrc/building passes it to the compiler; no source
// includes it.

#include <ATen/ExpandUtils.h>
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>
#include <torch/library.h>
