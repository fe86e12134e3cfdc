// How arguments travel to macros, filters, tests and methods.
#pragma once

#include <initializer_list>

#include "text/jinja_value.h"

namespace geist::text::jinja {

struct NamedValue {
  std::string_view name;
  Value value;
};

struct Arguments {
  std::span<const Value> positional;
  std::span<const NamedValue> named;

  Arguments without_first(size_t n) const { return {positional.subspan(n), named}; }
  const Value* find(std::string_view name) const {
    for (const NamedValue& argument : named) {
      if (argument.name == name) return &argument.value;
    }
    return nullptr;
  }
};

// Arguments matched with a builtin's parameter names, with typed access. A surplus or unknown
// argument, or one of the wrong type, fails the rendering and names the function.
class Parameters {
 public:
  static constexpr size_t kMax = 6;
  Parameters(Heap& heap, const char* function, const Arguments& arguments,
             std::initializer_list<std::string_view> names);

  bool has(size_t i) const { return values_[i] != nullptr; }
  // Given and not None.
  bool given(size_t i) const { return has(i) && !values_[i]->is_none(); }
  Value get(size_t i, const Value& otherwise = {}) const {
    return has(i) ? *values_[i] : otherwise;
  }
  bool boolean(size_t i, bool otherwise) const { return has(i) ? truthy(*values_[i]) : otherwise; }
  int64_t integer(size_t i, int64_t otherwise) const;
  std::string_view text(size_t i, std::string_view otherwise) const;
  // Fails when a parameter before n is absent.
  bool require(size_t n) const;

 private:
  Heap& heap_;
  const char* function_;
  const Value* values_[kMax] = {};
};

}  // namespace geist::text::jinja
