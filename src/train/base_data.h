// What the base stage reads: files of text, tokenised into memory, and folders of shards, mapped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"
#include "train/corpus.h"

namespace geist::train {

struct BaseData {
  std::vector<std::string> files, validation_files;
  double validation_share = 0.01;  // of the documents of `files`, chosen by their hash
  std::string field = "text", separator = "<|endoftext|>";
  int64_t split_bytes = 0;          // longer documents are cut behind a line's end; 0: never
  std::vector<std::string> shards;  // folders that `geist train data` made, both sides of each
  int64_t validation_rows = 64;
};

struct BaseCorpora {
  Corpus train, validation;
};

// Relative paths start at `folder`. Shards must have been made with this tokenizer.
Result<BaseCorpora> read_corpora(const BaseData& data, const std::string& folder,
                                 const text::Tokenizer& tokenizer);

}  // namespace geist::train
