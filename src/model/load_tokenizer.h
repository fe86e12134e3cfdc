// The tokenizer and the chat template that a model file carries in its metadata.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "gguf/gguf.h"
#include "text/tokenizer.h"

namespace geist::model {

// From the tokenizer.ggml.* keys. Errors name the key.
Result<text::Tokenizer> load_tokenizer(const gguf::Metadata& metadata);
// Nothing when the file carries none.
Result<std::optional<std::string>> load_chat_template(const gguf::Metadata& metadata);

}  // namespace geist::model
