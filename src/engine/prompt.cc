#include "engine/prompt.h"

namespace geist::engine {

std::vector<text::TokenId> encode_prompt(const text::Tokenizer& tokenizer, std::string_view text,
                                         const PromptOptions& options) {
  std::vector<text::TokenId> ids = tokenizer.encode(
      text,
      {.add_special = false, .parse_special = options.parse_special, .breaks = options.breaks});
  const text::Vocabulary& vocabulary = tokenizer.vocabulary();
  // A template that writes BOS itself must not get a second one.
  if (options.bos && vocabulary.add_bos && vocabulary.bos >= 0 &&
      (ids.empty() || ids.front() != vocabulary.bos)) {
    ids.insert(ids.begin(), vocabulary.bos);
  }
  return ids;
}

}  // namespace geist::engine
