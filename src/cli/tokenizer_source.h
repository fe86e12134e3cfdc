// The tokenizer of a model file (GGUF), of a tokenizer.json, or of a folder with one in it.
#pragma once

#include <string>

#include "base/result.h"
#include "text/tokenizer.h"

namespace geist::cli {

// source: a path, or the name of a model in the store. A tokenizer_config.json beside a
// tokenizer.json is read with it.
Result<text::Tokenizer> load_tokenizer(const std::string& source);

}  // namespace geist::cli
