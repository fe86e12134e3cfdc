#include "text/wordpiece.h"

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

bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_ascii_punctuation(char c) {
  return c > ' ' && c < 0x7F && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') &&
         !(c >= 'A' && c <= 'Z');
}

}  // namespace

Result<WordPieceModel> WordPieceModel::create(const Vocabulary& vocabulary,
                                              const std::vector<TokenType>& types) {
  WordPieceModel model;
  model.unknown_ = vocabulary.unk;
  model.lowercase_ = vocabulary.lowercase;
  model.strip_accents_ = vocabulary.strip_accents;
  size_t bytes = 0;
  for (const std::string& token : vocabulary.tokens) bytes += token.size();
  model.tokens_.reserve(bytes);
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i)
    if (types[i] != TokenType::kControl && types[i] != TokenType::kUnknown)
      model.tokens_.insert(vocabulary.tokens[i], static_cast<TokenId>(i));
  return model;
}

size_t WordPieceModel::skip_spaces(std::string_view text, size_t begin) {
  while (begin < text.size() && is_ascii_space(text[begin])) ++begin;
  return begin;
}

size_t WordPieceModel::next_cut(std::string_view text, size_t begin) {
  if (is_ascii_punctuation(text[begin])) return begin + 1;
  size_t end = begin + 1;
  while (end < text.size() && !is_ascii_space(text[end]) && !is_ascii_punctuation(text[end])) ++end;
  return end;
}

void WordPieceModel::append_word(std::string_view word, std::vector<TokenId>& out) const {
  const size_t before = out.size();
  for (size_t i = 0; i < word.size();) {
    const ByteTrie::Match match = tokens_.longest(word, i);
    if (match.id < 0) {
      out.resize(before);
      if (unknown_ >= 0) out.push_back(unknown_);
      return;
    }
    out.push_back(match.id);
    i += match.size;
  }
}

// Decomposing character by character leaves marks in another order than NFD, but no marks stay.
void WordPieceModel::encode_word(std::string_view part, Merger&, std::vector<TokenId>& out) const {
  std::string word(kSpaceMark);
  const auto finish = [&] {
    if (word.size() > kSpaceMark.size()) append_word(word, out);
    word = kSpaceMark;
  };
  const auto add = [&](char32_t c) {
    if (is_space(c)) return finish();
    if (c == 0 || c == 0xFFFD || is_control(c) || (strip_accents_ && is_mark(c))) return;
    const bool alone = stands_alone(c);
    if (alone) finish();
    append_utf8(word, lowercase_ ? to_lower(c) : c);
    if (alone) finish();
  };
  for (size_t i = 0; i < part.size();) {
    const CodePoint point = decode_utf8(part, i);
    i += point.length;
    char32_t decomposed[kDecomposedMax] = {point.value};
    const size_t count = strip_accents_ ? decompose(point.value, decomposed) : 1;
    for (size_t k = 0; k < count; ++k) add(decomposed[k]);
  }
  finish();
}

}  // namespace geist::text
