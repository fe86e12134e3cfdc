#include "text/wordpiece.h"

#include <algorithm>

#include "base/unicode.h"
#include "text/spm.h"

namespace geist::text {
namespace {

// The blocks that BERT's cleaner sets off character by character.
bool is_ideograph(char32_t c) {
  return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
         (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
         (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

bool stands_alone(char32_t c) {
  return is_punctuation(c) || (c < 0x7F && is_symbol(c)) || is_ideograph(c);
}

}  // namespace

Result<WordPieceModel> WordPieceModel::create(const Vocabulary& vocabulary,
                                              const std::vector<TokenType>& types) {
  WordPieceModel model;
  model.unknown_ = vocabulary.unk;
  model.lowercase_ = vocabulary.lowercase;
  model.strip_accents_ = vocabulary.strip_accents;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    if (types[i] == TokenType::kControl || types[i] == TokenType::kUnknown) continue;
    model.tokens_.insert(vocabulary.tokens[i], static_cast<TokenId>(i));
    model.token_bytes_max_ = std::max(model.token_bytes_max_, vocabulary.tokens[i].size());
  }
  return model;
}

void WordPieceModel::encode_word(std::string_view word, std::vector<TokenId>& out) const {
  const size_t before = out.size();
  for (size_t i = 0; i < word.size();) {
    size_t length = std::min(word.size() - i, token_bytes_max_);
    TokenId id = -1;
    while (length > 0 && (id = tokens_.find(word.substr(i, length))) < 0) --length;
    if (id < 0) {
      out.resize(before);
      if (unknown_ >= 0) out.push_back(unknown_);
      return;
    }
    out.push_back(id);
    i += length;
  }
}

void WordPieceModel::encode(std::string_view text, std::vector<TokenId>& out) const {
  std::string decomposed;
  if (strip_accents_) {
    decomposed = normalize(text, Normalization::kNfd);
    text = decomposed;
  }
  std::string word(kSpaceMark);
  const auto finish = [&] {
    if (word.size() > kSpaceMark.size()) encode_word(word, out);
    word = kSpaceMark;
  };
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    const char32_t c = point.value;
    i += point.length;
    if (is_space(c)) {
      finish();
      continue;
    }
    if (c == 0 || c == 0xFFFD || is_control(c) || (strip_accents_ && is_mark(c))) continue;
    const bool alone = stands_alone(c);
    if (alone) finish();
    append_utf8(word, lowercase_ ? to_lower(c) : c);
    if (alone) finish();
  }
  finish();
}

}  // namespace geist::text
