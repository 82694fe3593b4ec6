// Options that Python gives by name. A list of names is written once; the enum, the names in
// errors, the parser (bindings/option.h) and what Python sees (`_C.options`) follow from it.
#pragma once

namespace fk {

template <class Option>
struct OptionNames;

#define FK_OPTION_ENUMERATOR(name) name,
#define FK_OPTION_NAME(name) #name,
// Makes `enum class Type` of LIST(X), whose entries are X(name).
#define FK_OPTION(Type, LIST)                                      \
  enum class Type : int { LIST(FK_OPTION_ENUMERATOR) };            \
  template <>                                                      \
  struct OptionNames<Type> {                                       \
    static constexpr const char* names[] = {LIST(FK_OPTION_NAME)}; \
  };

// Where shift and raw scale lie among a coupling's parameters.
#define FK_LAYOUTS(X) X(shift_scale) X(scale_shift) X(interleaved)
FK_OPTION(Layout, FK_LAYOUTS)

// x s + t or (x + t) s.
#define FK_ORDERS(X) X(scale_then_shift) X(shift_then_scale)
FK_OPTION(Order, FK_ORDERS)

// Which end of the channels is coupled.
#define FK_TRANSFORMS(X) X(first) X(second)
FK_OPTION(Transform, FK_TRANSFORMS)

}  // namespace fk
