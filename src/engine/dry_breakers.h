// The token sequences that end a DRY match, from the strings that users give ("\n", ":", ...).
#pragma once

#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace geist::engine {

// All ways in which a breaker can lie in tokens: inside one token, or begun by the end of one token
// and completed by those that encode the rest. A walk over the vocabulary: make it once a model.
std::vector<std::vector<text::TokenId>> dry_breakers(const text::Tokenizer& tokenizer,
                                                     std::span<const std::string> breakers);

}  // namespace geist::engine
