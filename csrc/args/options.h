// Options that Python passes by name. Each list of names defines the enum, the names in errors,
// the parser (bindings/option.h) and the values that Python sees (`_C.options`).
#pragma once

namespace fk {

template <class Option>
struct OptionNames;

#define FK_OPTION_ENUMERATOR(name) name,
#define FK_OPTION_NAME(name) #name,
// Defines `enum class Type` from LIST(X), whose entries are X(name).
#define FK_OPTION(Type, LIST)                                      \
  enum class Type : int { LIST(FK_OPTION_ENUMERATOR) };            \
  template <>                                                      \
  struct OptionNames<Type> {                                       \
    static constexpr const char* names[] = {LIST(FK_OPTION_NAME)}; \
  };

// The layout of shift and raw scale in a coupling's parameters.
#define FK_LAYOUTS(X) X(shift_scale) X(scale_shift) X(interleaved) X(interleaved_scale_shift)
FK_OPTION(Layout, FK_LAYOUTS)

// x s + t or (x + t) s.
#define FK_ORDERS(X) X(scale_then_shift) X(shift_then_scale)
FK_OPTION(Order, FK_ORDERS)

// Which channels are transformed: the first, the last, or every other one from 0 or from 1 on.
#define FK_TRANSFORMS(X) X(first) X(second) X(even) X(odd)
FK_OPTION(Transform, FK_TRANSFORMS)

// What a network has between its layers, as a function of which its slope is known.
#define FK_ACTIVATIONS(X) X(relu) X(leaky_relu) X(elu) X(tanh)
FK_OPTION(Activation, FK_ACTIVATIONS)

// Whether log-dets are summed over each row or left for each element.
#define FK_REDUCTIONS(X) X(row) X(none)
FK_OPTION(Reduction, FK_REDUCTIONS)

}  // namespace fk
