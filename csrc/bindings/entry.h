// The direct entries of the ops: calls whose arguments are known when they run.
//
// An op's entry is made of the types of its C++ function, and knows nothing of Python; csrc/python
// knows how Python's objects become arguments, and nothing of the ops. Several entries may have one
// name; the first whose kinds fit the arguments serves.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/SmallVector.h>

#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "../args/export.h"

namespace fk {
namespace bindings {

enum class Kind { tensor, tensors, real, integer, integers, flag, text };

// One argument: the member of its kind is set. Nothing is owned.
struct Argument {
  const at::Tensor* tensor = nullptr;
  at::TensorList tensors;
  double real = 0;
  int64_t integer = 0;
  at::IntArrayRef integers;
  bool flag = false;
  std::string_view text;
};

using Results = c10::SmallVector<at::Tensor, 4>;

struct Entry {
  const char* name;
  std::vector<Kind> kinds;
  void (*call)(const Argument* arguments, Results& results);
};

// Every op adds itself when the library is loaded.
FK_EXPORT std::vector<Entry>& entries();

// The kind of a parameter, and its value in an argument.
template <class A>
struct Parameter;
#define FK_PARAMETER(type, of_kind, value)               \
  template <>                                            \
  struct Parameter<type> {                               \
    static constexpr Kind kind = Kind::of_kind;          \
    static type get(const Argument& a) { return value; } \
  };
FK_PARAMETER(const at::Tensor&, tensor, *a.tensor)
FK_PARAMETER(at::TensorList, tensors, a.tensors)
FK_PARAMETER(double, real, a.real)
FK_PARAMETER(int64_t, integer, a.integer)
FK_PARAMETER(c10::SymInt, integer, a.integer)
FK_PARAMETER(at::IntArrayRef, integers, a.integers)
FK_PARAMETER(bool, flag, a.flag)
FK_PARAMETER(std::string_view, text, a.text)
#undef FK_PARAMETER

inline void append(Results& results, at::Tensor t) { results.push_back(std::move(t)); }
template <class... T>
void append(Results& results, std::tuple<T...> all) {
  std::apply([&](T&... each) { (results.push_back(std::move(each)), ...); }, all);
}

template <class Function>
struct Called;
template <class R, class... A>
struct Called<R (*)(A...)> {
  static std::vector<Kind> kinds() { return {Parameter<A>::kind...}; }

  template <R (*function)(A...), size_t... I>
  static void expand(const Argument* a, Results& results, std::index_sequence<I...>) {
    append(results, function(Parameter<A>::get(a[I])...));
  }
  template <R (*function)(A...)>
  static void call(const Argument* a, Results& results) {
    expand<function>(a, results, std::index_sequence_for<A...>());
  }
};

// Adds `function` under a name; a static of a source file.
template <auto function>
struct Direct {
  explicit Direct(const char* name) {
    using Function = Called<decltype(function)>;
    entries().push_back({name, Function::kinds(), &Function::template call<function>});
  }
};

}  // namespace bindings
}  // namespace fk
