// Any bytes as a recipe: parsed or refused, and a parsed one has a canonical form.
#include <cstddef>
#include <cstdint>

#include "train/recipe.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace geist::train;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  auto recipe = Recipe::parse(text, "fuzz");
  if (!recipe.ok()) return 0;
  int64_t steps = 1;
  (void)recipe->root().read("steps", &steps, {.min = 1}).ok();
  if (auto data_table = recipe->root().table("data"); data_table.ok()) {
    std::vector<std::string> files;
    (void)data_table->read("files", &files).ok();
  }
  (void)recipe->check_all_read().ok();
  (void)recipe->hash();
  return 0;
}
