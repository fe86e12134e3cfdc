// WordPiece (Devlin et al. 2018, BERT): text is cleaned and cut into words at white space and
// punctuation; each word is covered greedily by the longest tokens, or is unknown.
//
// Tokens are stored as GGUF does: U+2581 in front of those that begin a word, nothing in front of
// those that continue one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"
#include "text/tokenizer_table.h"

namespace geist::text {

class WordPieceModel {
 public:
  static Result<WordPieceModel> create(const Vocabulary& vocabulary,
                                       const std::vector<TokenType>& types);
  void encode(std::string_view text, std::vector<TokenId>& out) const;

 private:
  void encode_word(std::string_view word, std::vector<TokenId>& out) const;

  TokenTable tokens_;
  size_t token_bytes_max_ = 0;
  TokenId unknown_ = -1;
  bool lowercase_ = true, strip_accents_ = true;
};

}  // namespace geist::text
