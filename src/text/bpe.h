// Byte-level byte-pair encoding: the word's bytes are the first symbols, and pairs merge by their
// rank in the merge list (Sennrich et al. 2016; bytes as in GPT-2).
//
// Vocabularies store tokens in a printable alphabet of 256 characters, one for each byte; here
// everything is bytes and ids, and one table maps a pair of ids to its rank and result. A merge may
// name strings that are no token: they get ids behind the vocabulary's and are spelled out byte by
// byte if they survive.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"
#include "text/tokenizer_merge.h"
#include "text/tokenizer_table.h"

namespace geist::text {

// The printable stand-in (UTF-8) of a byte, and back. Text that is not wholly in the alphabet gives
// false.
std::string_view byte_to_alphabet(unsigned char byte);
bool alphabet_to_bytes(std::string_view text, std::string* bytes);

class BpeModel {
 public:
  // `types` holds one entry a token. Only tokens that text may become (normal, unused,
  // user-defined) are results of a merge.
  static Result<BpeModel> create(const Vocabulary& vocabulary, const std::vector<TokenType>& types);

  // Appends the tokens of one word (a pre-tokenizer's piece). `merger` is scratch space of the
  // caller.
  void encode_word(std::string_view word, Merger& merger, std::vector<TokenId>& out) const;

 private:
  void append_symbol(const Symbol& symbol, std::string_view word, std::vector<TokenId>& out) const;

  int32_t size_ = 0;
  uint32_t merge_count_ = 0;
  bool ignore_merges_ = false;
  TokenId unknown_ = -1;
  std::array<int32_t, 256> byte_symbol_{};
  PairTable merges_;
  TokenTable words_;  // as bytes; only when merges are ignored for words that are tokens
};

}  // namespace geist::text
