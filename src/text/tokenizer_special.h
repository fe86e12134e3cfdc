// Finding the text of special and added tokens: leftmost first, the longest of those that start
// there (as Hugging Face's tokenizers do). Positions that begin no token
// cost one table look-up.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"
#include "text/tokenizer_table.h"

namespace geist::text {

class SpecialMatcher {
 public:
  struct Match {
    size_t begin = 0, end = 0;
    TokenId id = -1;  // -1: none until the end of the text
  };
  struct Item {
    std::string_view text;
    TokenId id;
  };

  SpecialMatcher() = default;
  explicit SpecialMatcher(const std::vector<Item>& items);
  // The first match at or behind `from`.
  Match find(std::string_view text, size_t from) const;
  // The longest that begins at this position; id -1: none.
  Match at(std::string_view text, size_t position) const;
  bool empty() const { return empty_; }

 private:
  std::array<bool, 256> starts_{};
  int only_start_ = -1;  // the one first byte, if there is one
  bool empty_ = true;
  ByteTrie trie_;
};

}  // namespace geist::text
