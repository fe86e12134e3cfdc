// Messages that spell control tokens ("</s>"): a user or a document could so put words into
// another's mouth. A mark inside each such text goes through the template with it; where it comes
// out, the text is the message's and not the template's, and is not parsed.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace geist::engine {

struct MarkedMessages {
  std::string messages;  // JSON
  std::string mark;      // one character that no message holds
  std::string quoted;    // the first of the texts, to name in an error
};

// Marks what users, tools and the system say, not what the assistant said. Nothing when no message
// spells a control token, as almost always. An error when no character is left to mark with.
Result<std::optional<MarkedMessages>> mark_control_text(std::string_view messages_json,
                                                        const text::Tokenizer& tokenizer);

// Takes the marks out again; returns where they were, as offsets in what is left.
std::vector<size_t> remove_marks(std::string_view mark, std::string* text);

}  // namespace geist::engine
