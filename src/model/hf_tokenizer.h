// The tokenizer and chat template of a Hugging Face folder as tokenizer.* keys (internal to this
// folder).
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "gguf/gguf.h"
#include "text/tokenizer.h"

namespace geist::model {

// The inverse of load_tokenizer().
void write_vocabulary(const text::Vocabulary& vocabulary, gguf::Metadata* metadata);

// Reads tokenizer.json, tokenizer_config.json, generation_config.json, config.json and the chat
// template. The vocabulary is brought to embedding_rows entries: models round the number of rows
// up.
Status add_hf_tokenizer(const std::string& folder, int64_t embedding_rows,
                        gguf::Metadata* metadata);

}  // namespace geist::model
