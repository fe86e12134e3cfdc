#include "train/ngram.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace geist::train {
namespace {

constexpr int kOrderUnpruned = 2;

}  // namespace

NgramModel::NgramModel(int order, int64_t vocabulary_size)
    : order_(order),
      vocabulary_size_(vocabulary_size),
      index_(static_cast<size_t>(order)),
      nodes_(static_cast<size_t>(order)),
      keys_(static_cast<size_t>(order)) {
  GEIST_CHECK(order >= 1 && order <= kNgramOrderMax);
}

void NgramModel::add(std::span<const text::TokenId> document) {
  // Of order k + 1 at [k]: the nodes of the n-grams that end at the last token and at this one.
  std::array<uint32_t, kNgramOrderMax> last{}, here{};
  for (size_t i = 0; i < document.size(); ++i) {
    const size_t longest = std::min(static_cast<size_t>(order_), i + 1);
    for (size_t k = 0; k < longest; ++k) {
      const uint64_t key =
          uint64_t{k == 0 ? 0 : last[k - 1]} << 32 | static_cast<uint32_t>(document[i]);
      const auto [at, is_new] = index_[k].try_emplace(key, static_cast<uint32_t>(nodes_[k].size()));
      here[k] = at->second;
      if (is_new) {
        nodes_[k].emplace_back();
        keys_[k].push_back(key);
        if (k > 0) ++nodes_[k - 1][here[k - 1]].continuations;
      }
      ++nodes_[k][here[k]].count;
    }
    last = here;
  }
}

bool NgramModel::is_kept(int order, const Node& node) const {
  return order <= kOrderUnpruned || node.count >= count_min_;
}

void NgramModel::sum_up() {
  numbers_ = 0;
  histories_.assign(static_cast<size_t>(order_), {});
  for (int order = 1; order <= order_; ++order) {
    const auto k = static_cast<size_t>(order - 1);
    histories_[k].resize(k == 0 ? 1 : nodes_[k - 1].size());
    for (size_t i = 0; i < nodes_[k].size(); ++i) {
      const Node& node = nodes_[k][i];
      History& history = histories_[k][keys_[k][i] >> 32];
      history.total += node.adjusted();
      if (!is_kept(order, node)) continue;
      history.kept += std::max(node.adjusted() - discounts_[k], 0.0);
      numbers_ += ++history.children == 1 ? 2 : 1;
    }
  }
}

void NgramModel::finish(int64_t numbers_max) {
  discounts_.clear();
  for (const std::vector<Node>& nodes : nodes_) {
    double once = 0, twice = 0;
    for (const Node& node : nodes) {
      once += node.adjusted() == 1;
      twice += node.adjusted() == 2;
    }
    // Where next to nothing comes once the estimate says nothing.
    discounts_.push_back(once > 0 && twice > 0 ? once / (once + 2 * twice) : 0.5);
  }
  for (count_min_ = 1;; ++count_min_) {
    sum_up();
    int64_t unpruned = 0;
    for (int k = 0; k < std::min(order_, kOrderUnpruned); ++k)
      unpruned += 2 * static_cast<int64_t>(nodes_[static_cast<size_t>(k)].size());
    if (numbers_max <= 0 || numbers_ <= numbers_max || numbers_ <= unpruned) return;
  }
}

uint32_t NgramModel::child(int order, uint32_t parent, text::TokenId token) const {
  const auto k = static_cast<size_t>(order - 1);
  const auto at = index_[k].find(uint64_t{parent} << 32 | static_cast<uint32_t>(token));
  return at == index_[k].end() ? kNone : at->second;
}

double NgramModel::probability(std::span<const text::TokenId> before, text::TokenId token) const {
  double p = 1.0 / static_cast<double>(vocabulary_size_);
  const auto longest = std::min(before.size(), static_cast<size_t>(order_) - 1);
  for (size_t length = 0; length <= longest; ++length) {
    uint32_t history = 0;
    for (size_t i = 0; i < length && history != kNone; ++i)
      history = child(static_cast<int>(i) + 1, history, before[before.size() - length + i]);
    if (history == kNone) continue;
    const History& h = histories_[length][history];
    if (h.total <= 0) continue;
    const uint32_t at = child(static_cast<int>(length) + 1, history, token);
    double own = 0;
    if (at != kNone && is_kept(static_cast<int>(length) + 1, nodes_[length][at]))
      own = std::max(nodes_[length][at].adjusted() - discounts_[length], 0.0);
    p = own / h.total + (1 - h.kept / h.total) * p;
  }
  return p;
}

}  // namespace geist::train
