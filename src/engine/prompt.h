// From a text to the tokens that generation continues.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace geist::engine {

// Tokens of a text that generation continues: BOS in front when the vocabulary asks for it and
// `bos` is true, never EOS behind.
struct PromptOptions {
  bool bos = true;
  bool parse_special = true;            // "<|im_end|>" in the text is the control token
  std::span<const size_t> breaks = {};  // but not across these offsets (text::EncodeOptions)
};
std::vector<text::TokenId> encode_prompt(const text::Tokenizer& tokenizer, std::string_view text,
                                         const PromptOptions& options = {});

}  // namespace geist::engine
