#include "text/spm.h"

#include <algorithm>
#include <cmath>
#include <functional>

namespace geist::text {
namespace {

constexpr uint32_t kNever = 0xFFFFFFFF;

// Scores as dense ranks, the highest score first; equal scores share one. A score that is no number
// never merges. Gives the number of ranks.
uint32_t rank_scores(const std::vector<float>& scores, std::vector<uint32_t>* ranks) {
  std::vector<float> order;
  for (const float score : scores)
    if (std::isfinite(score)) order.push_back(score);
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  for (size_t i = 0; i < ranks->size(); ++i) {
    const float score = scores[i];
    if (!std::isfinite(score)) continue;
    const auto at = std::lower_bound(order.begin(), order.end(), score, std::greater<>());
    (*ranks)[i] = static_cast<uint32_t>(at - order.begin());
  }
  return static_cast<uint32_t>(order.size());
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

int parse_byte_token(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token[5] != '>') return -1;
  const int high = hex_digit(token[3]), low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string with_spaces(std::string_view token) {
  std::string out;
  out.reserve(token.size());
  for (size_t i = 0; i < token.size();) {
    if (token.substr(i, kSpaceMark.size()) == kSpaceMark) {
      out += ' ';
      i += kSpaceMark.size();
    } else {
      out += token[i++];
    }
  }
  return out;
}

// By the lead byte alone, as the reference does: a broken character takes the bytes behind it
// along, but never past a space or the end.
size_t SpmModel::symbol_length(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0xC0) return 1;
  const size_t want = std::min<size_t>(lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4, text.size() - at);
  for (size_t i = 1; i < want; ++i)
    if (text[at + i] == ' ') return i;
  return want;
}

void SpmModel::forbid_cuts(std::string_view token) {
  for (size_t i = symbol_length(token, 0); i < token.size(); i += symbol_length(token, i)) {
    const auto last = static_cast<unsigned char>(token[i - 1]),
               first = static_cast<unsigned char>(token[i]);
    joined_[last * 4u + first / 64u] |= uint64_t{1} << (first % 64u);
  }
}

Result<SpmModel> SpmModel::create(const Vocabulary& vocabulary,
                                  const std::vector<TokenType>& types) {
  SpmModel model;
  model.unknown_ = vocabulary.unk;
  model.byte_token_.fill(-1);
  const size_t count = vocabulary.tokens.size();
  size_t bytes = 0;
  for (const std::string& token : vocabulary.tokens) bytes += token.size();
  model.tokens_.reserve(count, bytes);
  model.priority_.assign(count, kNever);
  const std::vector<float> level(vocabulary.scores.empty() ? count : 0);  // no scores: all equal
  model.priority_count_ =
      rank_scores(vocabulary.scores.empty() ? level : vocabulary.scores, &model.priority_);
  for (size_t i = 0; i < count; ++i) {
    const std::string& text = vocabulary.tokens[i];
    const auto id = static_cast<TokenId>(i);
    if (types[i] == TokenType::kByte) {
      model.byte_token_[static_cast<size_t>(parse_byte_token(text))] = id;
      continue;
    }
    // Control tokens are not to be had by spelling them; a token with a plain space matches no
    // escaped text.
    if (types[i] == TokenType::kControl || types[i] == TokenType::kUnknown ||
        text.find(' ') != std::string::npos)
      continue;
    const std::string key = with_spaces(text);
    if (!model.tokens_.insert(key, id)) continue;
    model.token_bytes_max_ = std::max(model.token_bytes_max_, key.size());
    if (model.priority_[i] != kNever) model.forbid_cuts(key);
  }
  return model;
}

size_t SpmModel::next_cut(std::string_view text, size_t begin) const {
  size_t at = begin + symbol_length(text, begin);
  while (at < text.size() &&
         joined(static_cast<unsigned char>(text[at - 1]), static_cast<unsigned char>(text[at])))
    at += symbol_length(text, at);
  return at;
}

void SpmModel::append_symbol(const Symbol& symbol, std::string_view word,
                             std::vector<TokenId>& out) const {
  if (symbol.id >= 0) {
    out.push_back(symbol.id);
    return;
  }
  const std::string_view bytes = word.substr(symbol.begin, symbol.size);
  const auto spelled = [this](char c) { return byte_token_[static_cast<unsigned char>(c)] >= 0; };
  if (!std::all_of(bytes.begin(), bytes.end(), spelled)) {
    if (unknown_ >= 0) out.push_back(unknown_);
    return;
  }
  for (const char c : bytes) out.push_back(byte_token_[static_cast<unsigned char>(c)]);
}

void SpmModel::encode_word(std::string_view word, Merger& merger, std::vector<TokenId>& out) const {
  merger.symbols.clear();
  for (size_t i = 0; i < word.size();) {
    const size_t length = symbol_length(word, i);
    merger.symbols.push_back({static_cast<uint32_t>(i), static_cast<uint32_t>(length),
                              tokens_.find(word.substr(i, length)), -1, -1});
    i += length;
  }
  merger.run(
      [this, word](const Symbol& left, const Symbol& right, Merge* merge) {
        const size_t size = size_t{left.size} + right.size;
        if (size > token_bytes_max_) return false;
        const TokenId id = tokens_.find(word.substr(left.begin, size));
        if (id < 0 || priority_[static_cast<size_t>(id)] == kNever) return false;
        *merge = {priority_[static_cast<size_t>(id)], id};
        return true;
      },
      priority_count_);
  for (const Symbol& symbol : merger.symbols)
    if (symbol.size > 0) append_symbol(symbol, word, out);
}

}  // namespace geist::text
