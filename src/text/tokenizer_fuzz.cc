// Fuzzes encoding and decoding with small vocabularies of each kind. The first byte chooses the
// vocabulary and the options, the rest is the text. Promises: with all bytes in the vocabulary the
// text comes back byte for byte; no id is out of range; decoding of any ids whatever does no harm.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "text/pre_tokenizer.h"
#include "text/tokenizer.h"
#include "text/tokenizer_test_vocabularies.h"

namespace geist::text {
namespace {

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "fuzz: broken promise: %s\n", what);
  std::abort();
}

// One of each pre-tokenizer, then SentencePiece with and without prefix space, then WordPiece.
const std::vector<Tokenizer>& tokenizers() {
  static const std::vector<Tokenizer> all = [] {
    std::vector<Tokenizer> made;
    for (const std::string_view pre : PreTokenizer::different_names()) {
      Vocabulary v = bpe_test_vocabulary();
      v.pre = pre;
      v.ignore_merges = PreTokenizer::ignores_merges(pre);
      made.push_back(Tokenizer::create(std::move(v)).value());
    }
    Vocabulary spm = spm_test_vocabulary();
    made.push_back(Tokenizer::create(spm).value());
    spm.add_space_prefix = false;
    made.push_back(Tokenizer::create(std::move(spm)).value());
    made.push_back(Tokenizer::create(wordpiece_test_vocabulary()).value());
    return made;
  }();
  return all;
}

void check(const Tokenizer& tokenizer, std::string_view text, bool special) {
  const std::vector<TokenId> ids =
      tokenizer.encode(text, {.add_special = false, .parse_special = special});
  for (const TokenId id : ids)
    require(id >= 0 && id < tokenizer.size(), "an id is in the vocabulary");
  const std::string back = tokenizer.decode(ids, special);
  if (tokenizer.vocabulary().kind != TokenizerKind::kWordPiece)
    require(back == text, "the text comes back");
}

}  // namespace
}  // namespace geist::text

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace geist::text;
  if (size == 0) return 0;
  const std::vector<Tokenizer>& all = tokenizers();
  const Tokenizer& tokenizer = all[(data[0] >> 1) % all.size()];
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  check(tokenizer, text, (data[0] & 1) != 0);
  std::vector<TokenId> ids(text.size() / sizeof(TokenId));
  if (!ids.empty()) std::memcpy(ids.data(), text.data(), ids.size() * sizeof(TokenId));
  for (const TokenId id : ids) tokenizer.token_bytes(id, true);
  tokenizer.decode(ids, (data[0] & 1) != 0);
  return 0;
}
