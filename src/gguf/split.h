// Split files: NAME-00001-of-000NN.gguf and its siblings (internal to this folder). Each part is a
// GGUF file of its own; keys say which part it is, of how many, and how many tensors all parts
// hold.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "gguf/gguf.h"

namespace geist::gguf {

struct Split {
  int64_t number = 0;  // from 0
  int64_t count = 1;
  std::optional<int64_t> tensors;  // over all parts
};

// Nothing for a file that is not a part of several.
Result<std::optional<Split>> read_split(const Metadata& metadata, const std::string& path);
// Checks that the file at `path` is part `number` of `count`.
Status check_part(const Metadata& metadata, const std::string& path, int64_t number, int64_t count);
// The path of part `number` (from 0) beside the first part's path. An error when that is not named
// by the rule.
Result<std::string> split_path(const std::string& first_path, int64_t number, int64_t count);
// Says which file to open instead.
Error not_the_first(const Split& split, const std::string& path);

}  // namespace geist::gguf
