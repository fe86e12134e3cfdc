// What a vocabulary must satisfy before a tokenizer is built on it, and what models leave unsaid:
// the real types of tokens and which of them end a turn.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace geist::text {

inline constexpr size_t kTokensMax = size_t{1} << 24;
inline constexpr size_t kTokenBytesMax = size_t{1} << 28;         // of all tokens together
inline constexpr size_t kSpecialTokenBytesMax = size_t{1} << 12;  // of one special or added token

// Sizes, ids, byte tokens, and special tokens that are asked for but absent. Empty tokens are
// renamed
// "[EMPTY_id]", as the convention is.
Status check_vocabulary(Vocabulary& vocabulary);

// A piece of a file as an error message may show it: cut after `size_max` bytes, control characters
// as '?'.
std::string shown(std::string_view text, size_t size_max = 64);

// One type a token: control-looking tokens that a converter left normal become control tokens.
std::vector<TokenType> effective_types(const Vocabulary& vocabulary);

// One flag a token: generation ends there.
std::vector<bool> end_tokens(const Vocabulary& vocabulary);

}  // namespace geist::text
