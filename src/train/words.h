// Words of a document as filters and duplicates see them: runs without ASCII white space, and runs
// of five of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace geist::train {

inline constexpr size_t kRunWords = 5;

template <typename F>
void for_each_word(std::string_view text, F&& f) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  for (size_t begin = text.find_first_not_of(kSpace); begin != std::string_view::npos;) {
    const size_t end = text.find_first_of(kSpace, begin);
    f(text.substr(begin, end - begin));
    begin = end == std::string_view::npos ? end : text.find_first_not_of(kSpace, end);
  }
}

// Of the hashes of up to five words, in order.
inline uint64_t run_hash(const uint64_t* words, size_t count = kRunWords) {
  uint64_t hash = count;
  for (size_t i = 0; i < count; ++i) {
    hash = (hash ^ words[i]) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  }
  return hash;
}

}  // namespace geist::train
