#include "text/jinja_call.h"

#include <algorithm>

#include "base/check.h"

namespace geist::text::jinja {

Parameters::Parameters(Heap& heap, const char* function, const Arguments& arguments,
                       std::initializer_list<std::string_view> names)
    : heap_(heap), function_(function) {
  GEIST_CHECK(names.size() <= kMax);
  if (arguments.positional.size() > names.size()) {
    heap.fail("%s() takes at most %zu arguments, %zu given", function, names.size(),
              arguments.positional.size());
    return;
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) values_[i] = &arguments.positional[i];
  for (const NamedValue& argument : arguments.named) {
    const auto* name = std::find(names.begin(), names.end(), argument.name);
    const size_t i = static_cast<size_t>(name - names.begin());
    if (name == names.end() || values_[i] != nullptr) {
      heap.fail("%s() got an unexpected argument '%.*s'", function,
                static_cast<int>(std::min<size_t>(argument.name.size(), 64)), argument.name.data());
      return;
    }
    values_[i] = &argument.value;
  }
}

int64_t Parameters::integer(size_t i, int64_t otherwise) const {
  if (!has(i)) return otherwise;
  if (values_[i]->is_integral()) return values_[i]->integer();
  heap_.fail("%s(): an integer is required, not %s", function_, type_name(*values_[i]));
  return otherwise;
}

std::string_view Parameters::text(size_t i, std::string_view otherwise) const {
  if (!has(i)) return otherwise;
  if (values_[i]->is_string()) return values_[i]->text();
  heap_.fail("%s(): a string is required, not %s", function_, type_name(*values_[i]));
  return otherwise;
}

bool Parameters::require(size_t n) const {
  for (size_t i = 0; i < n; ++i) {
    if (!has(i)) heap_.fail("%s() lacks an argument", function_);
  }
  return !heap_.failed();
}

}  // namespace geist::text::jinja
