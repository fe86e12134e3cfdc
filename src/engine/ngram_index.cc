#include "engine/ngram_index.h"

#include <algorithm>

namespace geist::engine {

// Collisions cost a comparison: a match is always compared token by token.
uint64_t NgramIndex::key_at(size_t end) const {
  uint64_t key = 0;
  for (size_t i = end - kGram; i < end; ++i)
    key = (key ^ static_cast<uint32_t>(tokens_[i])) * 0x9e3779b97f4a7c15u;
  return key;
}

void NgramIndex::push(TokenId id) {
  tokens_.push_back(id);
  int32_t older = -1;
  if (tokens_.size() >= kGram) {
    const auto end = static_cast<int32_t>(tokens_.size());
    const auto [entry, is_new] = newest_.try_emplace(key_at(tokens_.size()), end);
    if (!is_new) {
      older = entry->second;
      entry->second = end;
    }
  }
  previous_.push_back(older);
}

void NgramIndex::pop() {
  if (tokens_.size() >= kGram) {
    const auto entry = newest_.find(key_at(tokens_.size()));
    if (previous_.back() < 0) {
      newest_.erase(entry);
    } else {
      entry->second = previous_.back();
    }
  }
  previous_.pop_back();
  tokens_.pop_back();
}

void NgramIndex::sync(std::span<const TokenId> tokens) {
  // Usually a few tokens were appended: compare from the end of what was there.
  size_t same = std::min(tokens_.size(), tokens.size());
  same = static_cast<size_t>(std::mismatch(tokens_.begin(),
                                           tokens_.begin() + static_cast<std::ptrdiff_t>(same),
                                           tokens.begin())
                                 .first -
                             tokens_.begin());
  while (tokens_.size() > same) pop();
  for (const TokenId id : tokens.subspan(same)) push(id);
}

NgramIndex::Match NgramIndex::longest() const {
  Match best;
  if (tokens_.empty()) return best;
  const auto size = static_cast<int32_t>(tokens_.size());
  int32_t end = previous_.back();
  for (int32_t looked = 0; end >= 0 && looked < kChainMax;
       ++looked, end = previous_[static_cast<size_t>(end) - 1]) {
    const int32_t most = std::min(end, kLengthMax);
    int32_t length = 0;
    while (length < most && tokens_[static_cast<size_t>(end - 1 - length)] ==
                                tokens_[static_cast<size_t>(size - 1 - length)])
      ++length;
    if (length >= kGram && length > best.length) best = {end, length};
  }
  return best;
}

void NgramIndex::copy(const Match& match, int32_t count, std::vector<TokenId>& out) const {
  const size_t period = tokens_.size() - static_cast<size_t>(match.end);
  for (int32_t i = 0; i < count; ++i)
    out.push_back(tokens_[static_cast<size_t>(match.end) + static_cast<size_t>(i) % period]);
}

}  // namespace geist::engine
