// Where the end of a text has been before: the longest earlier occurrence of its last tokens, for
// prompt lookup (Saxena 2023; Yang et al., arXiv:2304.04487). Incremental, as in LZ77: positions
// with the same last kGram tokens form a chain, newest first, of which a bounded number is looked
// at, so appending and finding cost constant time a token.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace geist::engine {

using text::TokenId;

class NgramIndex {
 public:
  static constexpr int32_t kGram = 3;

  // Makes the index that of these tokens: keeps what they have in common with the last ones, drops
  // the rest, appends what is new.
  void sync(std::span<const TokenId> tokens);

  struct Match {
    int32_t end = 0;     // tokens[end] followed the earlier occurrence
    int32_t length = 0;  // tokens that agree, kGram to kLengthMax; 0: none
  };
  // The longest among the newest kChainMax occurrences, ties to the newest.
  Match longest() const;

  // Up to `count` tokens that followed the match; past the end of the text it repeats itself.
  void copy(const Match& match, int32_t count, std::vector<TokenId>& out) const;

 private:
  static constexpr int32_t kChainMax = 32, kLengthMax = 64;

  uint64_t key_at(size_t end) const;  // of the kGram tokens before `end`
  void push(TokenId id);
  void pop();

  std::vector<TokenId> tokens_;
  std::vector<int32_t> previous_;  // [end]: the next older end with the same key, or -1
  std::unordered_map<uint64_t, int32_t> newest_;  // looked up, never walked
};

}  // namespace geist::engine
