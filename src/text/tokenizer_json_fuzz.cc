// Fuzzes the reader of tokenizer.json. The input is the file, and behind a zero byte the
// tokenizer_config.json. Whatever is accepted must be a tokenizer that encodes and decodes without
// harm, and whose ids are in range.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what);
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using geist::text::Tokenizer;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const size_t zero = input.find('\0');
  const std::string_view config =
      zero == std::string_view::npos ? std::string_view() : input.substr(zero + 1);
  const geist::Result<Tokenizer> tokenizer =
      Tokenizer::from_tokenizer_json(input.substr(0, zero), config);
  if (!tokenizer.ok()) {
    require(!tokenizer.error().message.empty(), "an error says something");
    require(tokenizer.error().message.find('\n') == std::string::npos, "an error is one line");
    return 0;
  }
  for (const char* text : {"", "Hello, world 123", "  \n a\xff\xe2\x82", "<s>ab</s>"}) {
    const auto ids = tokenizer->encode(text, {.parse_special = true});
    for (const auto id : ids)
      require(id >= 0 && id < tokenizer->size(), "an id is in the vocabulary");
    tokenizer->decode(ids, true);
  }
  return 0;
}
