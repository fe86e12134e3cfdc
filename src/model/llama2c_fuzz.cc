// Fuzzes the readers of llama2.c checkpoints: the first byte says how much of the input is the
// vocabulary; numbers of the header are kept small, so that the weights can be all there.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "model/llama2c_import.h"

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace geist;
  if (size < 9) return 0;
  std::string checkpoint;
  for (size_t i = 1; i < 8; ++i) {
    // Odd bytes: a number of any size, by a shift.
    const uint32_t value =
        data[i] % 2 == 0 ? data[i] / 2u : static_cast<uint32_t>(data[i]) << (data[i] % 25);
    checkpoint.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  const std::span<const uint8_t> rest(data + 8, size - 8);
  const size_t vocabulary_bytes = data[0] < 128 ? 0 : rest.size() * (data[0] - 128u) / 128;
  checkpoint.append(reinterpret_cast<const char*>(rest.data()), rest.size() - vocabulary_bytes);
  if (data[0] % 2 == 0) checkpoint.append(size_t{1} << 13, '\0');
  const auto vocabulary = std::as_bytes(rest.last(vocabulary_bytes));
  auto plan =
      model::plan_llama2c_import(std::as_bytes(std::span(checkpoint)), vocabulary, "fuzz.bin");
  if (!plan.ok()) {
    require(plan.error().message.find('\n') == std::string::npos, "an error is one line");
    return 0;
  }
  const gguf::File file = model::assemble(std::move(*plan));
  require(file.find("token_embd.weight") != nullptr, "a model has an embedding");
  return 0;
}
