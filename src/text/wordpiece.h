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
#include "text/tokenizer_merge.h"
#include "text/tokenizer_table.h"

namespace geist::text {

class WordPieceModel {
 public:
  static Result<WordPieceModel> create(const Vocabulary& vocabulary,
                                       const std::vector<TokenType>& types);

  // Where ASCII alone says that words end: the end of the white space at `begin`, and of the one
  // punctuation character or the run of other characters there.
  static size_t skip_spaces(std::string_view text, size_t begin);
  static size_t next_cut(std::string_view text, size_t begin);

  // Appends the tokens of a part of the text between two such places; it may hold several words.
  void encode_word(std::string_view part, Merger& unused, std::vector<TokenId>& out) const;

 private:
  void append_word(std::string_view word, std::vector<TokenId>& out) const;

  ByteTrie tokens_;
  TokenId unknown_ = -1;
  bool lowercase_ = true, strip_accents_ = true;
};

}  // namespace geist::text
