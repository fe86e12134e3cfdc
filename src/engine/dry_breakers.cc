#include "engine/dry_breakers.h"

#include <algorithm>

namespace geist::engine {
namespace {

constexpr size_t kBreakerBytesMax = 40;  // longer ones are cut: each doubles the work

void add_breaker(const text::Tokenizer& tokenizer, std::string_view breaker,
                 std::vector<std::vector<text::TokenId>>& out) {
  for (text::TokenId id = 0; id < tokenizer.size(); ++id) {
    const std::string piece = tokenizer.token_bytes(id, true);
    if (piece.find(breaker) != std::string::npos) {
      out.push_back({id});
      continue;
    }
    const size_t longest = std::min(piece.size(), breaker.size() - 1);
    for (size_t length = longest; length > 0; --length) {
      if (piece.compare(piece.size() - length, length, breaker, 0, length) != 0) continue;
      std::vector<text::TokenId> sequence = {id};
      const auto tail = tokenizer.encode(breaker.substr(length), {.add_special = false});
      sequence.insert(sequence.end(), tail.begin(), tail.end());
      out.push_back(std::move(sequence));
    }
  }
}

}  // namespace

std::vector<std::vector<text::TokenId>> dry_breakers(const text::Tokenizer& tokenizer,
                                                     std::span<const std::string> breakers) {
  std::vector<std::vector<text::TokenId>> out;
  for (const std::string& breaker : breakers) {
    if (!breaker.empty())
      add_breaker(tokenizer, std::string_view(breaker).substr(0, kBreakerBytesMax), out);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace geist::engine
