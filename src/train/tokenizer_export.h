// A trained vocabulary as files: GGUF metadata (tokenizer.ggml.*, what runners read) and Hugging
// Face's tokenizer.json.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "gguf/gguf.h"
#include "text/tokenizer.h"

namespace geist::train {

// ChatML with tools as Qwen and Hermes models have them (Jinja).
std::string_view chat_template();

// The tokenizer.* keys of a vocabulary made by make_vocabulary(), chat template included.
gguf::Metadata tokenizer_metadata(const text::Vocabulary& vocabulary);

// A GGUF of metadata alone.
Status write_tokenizer_gguf(const std::string& path, const text::Vocabulary& vocabulary);

// An error when the pre-tokenizer has no regular expression of its own.
Result<std::string> tokenizer_json(const text::Vocabulary& vocabulary);

}  // namespace geist::train
