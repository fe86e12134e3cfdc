// SentencePiece's byte-pair encoding (Kudo and Richardson 2018): the first symbols are characters;
// two adjacent symbols merge when their concatenation is a token, the highest score first.
// Characters that end up in no token are spelled with byte tokens.
//
// Vocabularies write a space as U+2581. Here tokens are held with the space itself, so text is
// encoded where it lies; a U+2581 in the text is no space and is spelled in bytes, so that decoding
// gives it back.
//
// There is no pre-tokenizer, but a text may be cut between any two characters that are adjacent in
// no token: no merge can reach across. In English that is nearly every word, which a cache can then
// remember. Tokens are examined for this at creation (one bit for each pair of last byte and first
// byte).
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

inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // U+2581

// The byte of a token "<0xHH>", or -1.
int parse_byte_token(std::string_view token);
std::string with_spaces(std::string_view token);  // U+2581 to space

class SpmModel {
 public:
  static Result<SpmModel> create(const Vocabulary& vocabulary, const std::vector<TokenType>& types);

  // The end of the part that starts at `begin`: the next place where the text may be cut.
  size_t next_cut(std::string_view text, size_t begin) const;
  // Appends the tokens of one part.
  void encode_word(std::string_view word, Merger& merger, std::vector<TokenId>& out) const;

 private:
  static size_t symbol_length(std::string_view text, size_t at);
  void forbid_cuts(std::string_view token);
  bool joined(unsigned char last, unsigned char first) const {
    return (joined_[last * 4 + first / 64] >> (first % 64) & 1) != 0;
  }
  void append_symbol(const Symbol& symbol, std::string_view word, std::vector<TokenId>& out) const;

  TokenTable tokens_;
  std::vector<uint32_t> priority_;  // by id; the least merges first
  uint32_t priority_count_ = 0;
  std::array<TokenId, 256> byte_token_{};
  std::array<uint64_t, 1024> joined_{};
  TokenId unknown_ = -1;
  size_t token_bytes_max_ = 0;
};

}  // namespace geist::text
