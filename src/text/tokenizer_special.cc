#include "text/tokenizer_special.h"

#include <algorithm>
#include <cstring>

namespace geist::text {

SpecialMatcher::SpecialMatcher(const std::vector<Item>& items) {
  size_t bytes = 0;
  for (const Item& item : items) bytes += item.text.size();
  if (bytes == 0) return;
  edges_.reserve(bytes);
  accepts_.push_back(-1);
  for (const Item& item : items) {
    if (item.text.empty()) continue;
    starts_[static_cast<unsigned char>(item.text[0])] = true;
    uint32_t node = 0;
    for (const char c : item.text) {
      const auto byte = static_cast<unsigned char>(c);
      const PairTable::Slot* edge = edges_.find(node, byte);
      const auto next = edge != nullptr ? static_cast<uint32_t>(edge->id)
                                        : static_cast<uint32_t>(accepts_.size());
      if (edge == nullptr) {
        edges_.insert(node, byte, 0, static_cast<int32_t>(next));
        accepts_.push_back(-1);
      }
      node = next;
    }
    accepts_[node] = item.id;
  }
  if (std::count(starts_.begin(), starts_.end(), true) == 1)
    only_start_ =
        static_cast<int>(std::find(starts_.begin(), starts_.end(), true) - starts_.begin());
}

SpecialMatcher::Match SpecialMatcher::find(std::string_view text, size_t from) const {
  if (accepts_.empty()) return {text.size(), text.size(), -1};
  for (size_t i = from; i < text.size(); ++i) {
    if (only_start_ >= 0) {
      const void* at = std::memchr(text.data() + i, only_start_, text.size() - i);
      if (at == nullptr) break;
      i = static_cast<size_t>(static_cast<const char*>(at) - text.data());
    }
    if (!starts_[static_cast<unsigned char>(text[i])]) continue;
    Match match{i, i, -1};
    uint32_t node = 0;
    for (size_t k = i; k < text.size(); ++k) {
      const PairTable::Slot* edge = edges_.find(node, static_cast<unsigned char>(text[k]));
      if (edge == nullptr) break;
      node = static_cast<uint32_t>(edge->id);
      if (accepts_[node] >= 0) match = {i, k + 1, accepts_[node]};
    }
    if (match.id >= 0) return match;
  }
  return {text.size(), text.size(), -1};
}

}  // namespace geist::text
