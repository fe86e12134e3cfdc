// Writes the tiny model of support/tiny_model.h, for tests that need a file: make_tiny_model PATH;
// or an adapter for it: make_tiny_model --adapter PATH.
#include <cstdio>
#include <string_view>

#include "base/rng.h"
#include "model/lora.h"
#include "tests/support/tiny_model.h"

static geist::Status write_adapter(const char* path) {
  geist::RandomStream random(3, "adapter");
  geist::model::LoraMatrices m{"blk.1.attn_v.weight", 4, 64, 32, {}, {}};
  m.a.resize(4 * 64);
  m.b.resize(32 * 4);
  for (auto* values : {&m.a, &m.b})
    for (float& v : *values) v = static_cast<float>(random.next_double() - 0.5);
  return geist::model::write_lora(path, "llama", 8, {&m, 1});
}

int main(int argc, char** argv) {
  const bool adapter = argc == 3 && std::string_view(argv[1]) == "--adapter";
  if (argc != 2 && !adapter)
    return std::fputs("usage: make_tiny_model [--adapter] PATH\n", stderr), 2;
  const geist::Status status =
      adapter ? write_adapter(argv[2]) : geist::testing::write_tiny_model(argv[1]);
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.error().message.c_str());
  return status.ok() ? 0 : 1;
}
