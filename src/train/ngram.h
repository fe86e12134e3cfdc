// An n-gram model of token ids, the yardstick beside a neural one: interpolated Kneser-Ney with one
// discount an order (Kneser and Ney 1995; Chen and Goodman 1999, section 2.7), pruned to a size.
//
//   p(w | h) = max(c(h w) - D, 0) / c(h) + b(h) p(w | h without its first token)
//
// c counts occurrences at the highest order, and behind a document's start, where nothing comes
// before; everywhere else it counts different tokens before (continuations). b(h) gives the rest of
// the probability, so each distribution sums to one, pruned or not. A size is a count of numbers:
// one for each n-gram that is kept and one for each history that has any.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "text/tokenizer.h"

namespace geist::train {

inline constexpr int kNgramOrderMax = 8;

class NgramModel {
 public:
  // order: 1 to kNgramOrderMax. Ids are below vocabulary_size.
  NgramModel(int order, int64_t vocabulary_size);

  // Counts a document; it begins anew with each.
  void add(std::span<const text::TokenId> document);
  // After the last document: leaves out rare n-grams of the orders above two until at most
  // `numbers_max` numbers are left; 0: keeps all.
  void finish(int64_t numbers_max);

  // p(token | the tokens before), of which the last order - 1 count.
  double probability(std::span<const text::TokenId> before, text::TokenId token) const;
  int64_t numbers() const { return numbers_; }
  int order() const { return order_; }
  int64_t count_min() const { return count_min_; }  // an n-gram that came less often is left out

 private:
  struct Node {
    uint32_t count = 0, continuations = 0;
    uint32_t adjusted() const { return continuations > 0 ? continuations : count; }
  };
  struct History {
    double total = 0, kept = 0;  // of adjusted counts; kept: without discounts, of what is kept
    uint32_t children = 0;       // that are kept
  };
  static constexpr uint32_t kNone = UINT32_MAX;
  uint32_t child(int order, uint32_t parent, text::TokenId token) const;
  bool is_kept(int order, const Node& node) const;
  void sum_up();

  int order_;
  int64_t vocabulary_size_, numbers_ = 0, count_min_ = 1;
  // Of order k + 1 at [k]: a node for each n-gram, found by (node of its history) << 32 | token.
  std::vector<std::unordered_map<uint64_t, uint32_t>> index_;
  std::vector<std::vector<Node>> nodes_;
  std::vector<std::vector<uint64_t>> keys_;      // of each node
  std::vector<std::vector<History>> histories_;  // [k]: of nodes of order k; [0]: the empty one
  std::vector<double> discounts_;
};

}  // namespace geist::train
