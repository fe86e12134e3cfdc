#include "text/tokenizer_special.h"

#include <algorithm>
#include <cstring>

namespace geist::text {

SpecialMatcher::SpecialMatcher(const std::vector<Item>& items) {
  size_t bytes = 0;
  for (const Item& item : items) bytes += item.text.size();
  if (bytes == 0) return;
  empty_ = false;
  trie_.reserve(bytes);
  for (const Item& item : items) {
    if (item.text.empty()) continue;
    starts_[static_cast<unsigned char>(item.text[0])] = true;
    trie_.insert(item.text, item.id);
  }
  if (std::count(starts_.begin(), starts_.end(), true) == 1)
    only_start_ =
        static_cast<int>(std::find(starts_.begin(), starts_.end(), true) - starts_.begin());
}

SpecialMatcher::Match SpecialMatcher::find(std::string_view text, size_t from) const {
  if (empty_) return {text.size(), text.size(), -1};
  for (size_t i = from; i < text.size(); ++i) {
    if (only_start_ >= 0) {
      const void* at = std::memchr(text.data() + i, only_start_, text.size() - i);
      if (at == nullptr) break;
      i = static_cast<size_t>(static_cast<const char*>(at) - text.data());
    }
    if (const Match match = at(text, i); match.id >= 0) return match;
  }
  return {text.size(), text.size(), -1};
}

SpecialMatcher::Match SpecialMatcher::at(std::string_view text, size_t position) const {
  if (empty_ || !starts_[static_cast<unsigned char>(text[position])]) return {};
  const ByteTrie::Match match = trie_.longest(text, position);
  if (match.id < 0) return {};
  return {position, position + match.size, match.id};
}

}  // namespace geist::text
