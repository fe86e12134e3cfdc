#include "text/bpe.h"

#include <unordered_map>

#include "base/unicode.h"
#include "text/tokenizer_check.h"

namespace geist::text {
namespace {

// GPT-2's alphabet: the visible bytes of Latin-1 stand for themselves, the other 68 for U+0100 and
// up.
struct Alphabet {
  std::array<std::string, 256> of_byte;
  std::array<int16_t, 0x180> byte_of;
  Alphabet() {
    byte_of.fill(-1);
    char32_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool visible = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      const char32_t c = visible ? static_cast<char32_t>(b) : next++;
      append_utf8(of_byte[static_cast<size_t>(b)], c);
      byte_of[c] = static_cast<int16_t>(b);
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet instance;
  return instance;
}

// Strings of merges to symbol ids; those that are no token are numbered behind the vocabulary.
class SymbolIds {
 public:
  SymbolIds(const Vocabulary& vocabulary, const std::vector<TokenType>& types)
      : next_(static_cast<int32_t>(vocabulary.tokens.size())) {
    size_t bytes = 0;
    for (const std::string& token : vocabulary.tokens) bytes += token.size();
    tokens_.reserve(vocabulary.tokens.size(), bytes);
    for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
      const TokenType type = types[i];
      if (type == TokenType::kNormal || type == TokenType::kUnused ||
          type == TokenType::kUserDefined)
        tokens_.insert(vocabulary.tokens[i], static_cast<int32_t>(i));
    }
  }
  int32_t of(std::string_view text) {
    if (const int32_t id = tokens_.find(text); id >= 0) return id;
    tokens_.insert(text, next_);
    return next_++;
  }

 private:
  TokenTable tokens_;
  int32_t next_;
};

}  // namespace

std::string_view byte_to_alphabet(unsigned char byte) { return alphabet().of_byte[byte]; }

bool alphabet_to_bytes(std::string_view text, std::string* bytes) {
  const Alphabet& a = alphabet();
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = decode_utf8(text, i);
    if (!c.valid || c.value >= a.byte_of.size() || a.byte_of[c.value] < 0) return false;
    *bytes += static_cast<char>(a.byte_of[c.value]);
    i += c.length;
  }
  return true;
}

Result<BpeModel> BpeModel::create(const Vocabulary& vocabulary,
                                  const std::vector<TokenType>& types) {
  BpeModel model;
  model.size_ = static_cast<int32_t>(vocabulary.tokens.size());
  model.ignore_merges_ = vocabulary.ignore_merges;
  model.unknown_ = vocabulary.unk;
  model.merge_count_ = static_cast<uint32_t>(vocabulary.merges.size());
  SymbolIds ids(vocabulary, types);
  for (size_t b = 0; b < 256; ++b)
    model.byte_symbol_[b] = ids.of(byte_to_alphabet(static_cast<unsigned char>(b)));
  model.merges_.reserve(vocabulary.merges.size());
  std::string joined;
  for (size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const std::string_view merge = vocabulary.merges[rank];
    // The first character may itself be a space.
    const size_t space = merge.find(' ', 1);
    if (space == std::string_view::npos || space + 1 == merge.size())
      return errorf(
          "tokenizer: merge %zu, '%s', is not two parts with a space between; the file is "
          "damaged",
          rank, shown(vocabulary.merges[rank]).c_str());
    const std::string_view left = merge.substr(0, space), right = merge.substr(space + 1);
    joined.assign(left).append(right);
    const int32_t left_id = ids.of(left), right_id = ids.of(right);
    model.merges_.insert(static_cast<uint32_t>(left_id), static_cast<uint32_t>(right_id),
                         static_cast<uint32_t>(rank), ids.of(joined));
  }
  if (!model.ignore_merges_) return model;
  std::string bytes;
  for (size_t i = 0; i < vocabulary.tokens.size(); ++i) {
    bytes.clear();
    if (types[i] == TokenType::kNormal && alphabet_to_bytes(vocabulary.tokens[i], &bytes))
      model.words_.insert(bytes, static_cast<int32_t>(i));
  }
  return model;
}

void BpeModel::append_symbol(const Symbol& symbol, std::string_view word,
                             std::vector<TokenId>& out) const {
  if (symbol.id < size_) {
    out.push_back(symbol.id);
    return;
  }
  for (const char c : word.substr(symbol.begin, symbol.size)) {
    const int32_t id = byte_symbol_[static_cast<unsigned char>(c)];
    if (id < size_) {
      out.push_back(id);
    } else if (unknown_ >= 0) {
      out.push_back(unknown_);
    }
  }
}

void BpeModel::encode_word(std::string_view word, Merger& merger, std::vector<TokenId>& out) const {
  if (ignore_merges_) {
    if (const int32_t id = words_.find(word); id >= 0) {
      out.push_back(id);
      return;
    }
  }
  merger.symbols.resize(word.size());
  for (uint32_t i = 0; i < word.size(); ++i)
    merger.symbols[i] = {i, 1, byte_symbol_[static_cast<unsigned char>(word[i])], -1, -1};
  merger.run(
      [this](const Symbol& left, const Symbol& right, Merge* merge) {
        const PairTable::Slot* slot =
            merges_.find(static_cast<uint32_t>(left.id), static_cast<uint32_t>(right.id));
        if (slot == nullptr) return false;
        *merge = {slot->rank, slot->id};
        return true;
      },
      merge_count_);
  for (const Symbol& symbol : merger.symbols)
    if (symbol.size > 0) append_symbol(symbol, word, out);
}

}  // namespace geist::text
