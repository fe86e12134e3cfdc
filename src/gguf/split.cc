#include "gguf/split.h"

#include <cstdio>

#include "gguf/wire.h"

namespace geist::gguf {
namespace {

constexpr int64_t kSplitCountMax = 10000;

// "-00001-of-00003.gguf" for number 0 of 3.
std::string suffix(int64_t number, int64_t count) {
  char text[64];
  std::snprintf(text, sizeof text, "-%05lld-of-%05lld.gguf", static_cast<long long>(number + 1),
                static_cast<long long>(count));
  return text;
}

}  // namespace

Result<std::optional<Split>> read_split(const Metadata& metadata, const std::string& path) {
  const auto read = [&](std::string_view key) -> Result<std::optional<int64_t>> {
    auto value = get_int(metadata, key);
    if (!value.ok()) return errorf("%s: %s", path.c_str(), value.error().message.c_str());
    return value;
  };
  GEIST_ASSIGN(const auto count, read(kSplitCountKey));
  if (!count || *count <= 1) return std::optional<Split>();
  GEIST_ASSIGN(const auto number, read(kSplitNumberKey));
  GEIST_ASSIGN(const auto tensors, read(kSplitTensorsKey));
  if (*count > kSplitCountMax || !number || *number < 0 || *number >= *count)
    return errorf("%s: damaged: it says to be part %lld of %lld; download it again", path.c_str(),
                  number ? static_cast<long long>(*number) : -1, static_cast<long long>(*count));
  return std::optional(Split{*number, *count, tensors});
}

Status check_part(const Metadata& metadata, const std::string& path, int64_t number,
                  int64_t count) {
  GEIST_ASSIGN(const auto split, read_split(metadata, path));
  if (!split || split->number != number || split->count != count)
    return errorf("%s: it is not part %lld of %lld, as its name says; download it again",
                  path.c_str(), static_cast<long long>(number + 1), static_cast<long long>(count));
  return {};
}

Result<std::string> split_path(const std::string& first_path, int64_t number, int64_t count) {
  const std::string first = suffix(0, count);
  if (!first_path.ends_with(first))
    return errorf(
        "%s: the first of %lld split files must be named NAME%s, with the others beside it; rename "
        "it",
        first_path.c_str(), static_cast<long long>(count), first.c_str());
  return first_path.substr(0, first_path.size() - first.size()) + suffix(number, count);
}

Error not_the_first(const Split& split, const std::string& path) {
  const std::string own = suffix(split.number, split.count);
  const std::string stem = path.ends_with(own) ? path.substr(0, path.size() - own.size()) : "NAME";
  return errorf("%s: this is part %lld of %lld; open the first, %s%s", path.c_str(),
                static_cast<long long>(split.number + 1), static_cast<long long>(split.count),
                stem.c_str(), suffix(0, split.count).c_str());
}

}  // namespace geist::gguf
