#include "cli/tokenizer_source.h"

#include <filesystem>

#include "base/file.h"
#include "cli/store.h"
#include "gguf/gguf.h"
#include "model/load_tokenizer.h"

namespace geist::cli {
namespace {

constexpr size_t kConfigBytesMax = size_t{1} << 28;

// A tokenizer does not know where it came from; errors of reading name the file already.
Result<text::Tokenizer> located(const std::filesystem::path& path,
                                Result<text::Tokenizer> tokenizer) {
  if (tokenizer.ok()) return tokenizer;
  return errorf("%s: %s", path.c_str(), tokenizer.error().message.c_str());
}

Result<text::Tokenizer> load_json(const std::filesystem::path& path) {
  GEIST_ASSIGN(const std::string json, read_file(path.string(), kConfigBytesMax));
  const std::filesystem::path config_path = path.parent_path() / "tokenizer_config.json";
  std::error_code ignored;
  std::string config;
  if (std::filesystem::exists(config_path, ignored)) {
    GEIST_ASSIGN(config, read_file(config_path.string(), kConfigBytesMax));
  }
  return located(path, text::Tokenizer::from_tokenizer_json(json, config));
}

Result<text::Tokenizer> load_gguf(const std::string& path) {
  GEIST_ASSIGN(const gguf::File file, gguf::File::open(path));
  return located(path, model::load_tokenizer(file.metadata()));
}

}  // namespace

Result<text::Tokenizer> load_tokenizer(const std::string& source) {
  GEIST_ASSIGN(const std::string found, find_model(source));
  std::filesystem::path path = found;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) path /= "tokenizer.json";
  return path.extension() == ".json" ? load_json(path) : load_gguf(path.string());
}

}  // namespace geist::cli
