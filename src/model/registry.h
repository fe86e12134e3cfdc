// The architectures that Geist runs, by their name in general.architecture.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "model/model.h"

namespace geist::model {

struct Architecture {
  std::string_view name;
  ArchTraits traits;
  std::unique_ptr<Model> (*make)();
};

template <typename T>
std::unique_ptr<Model> make_model() {
  return std::make_unique<T>();
}

std::span<const Architecture> architectures();
// Null when unknown.
const Architecture* find_architecture(std::string_view name);

}  // namespace geist::model
