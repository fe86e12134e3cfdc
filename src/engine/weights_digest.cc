#include "engine/weights_digest.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/file.h"

namespace geist::engine {
namespace {

template <typename T>
requires std::is_arithmetic_v<T> || std::is_enum_v<T>
void add(Sha256& hash, T value) { hash.update(std::as_bytes(std::span(&value, 1))); }

void add(Sha256& hash, const std::string& text) {
  add(hash, static_cast<uint64_t>(text.size()));
  hash.update(std::as_bytes(std::span(text)));
}

template <typename T>
void add(Sha256& hash, const std::vector<T>& list) {
  add(hash, static_cast<uint64_t>(list.size()));
  for (size_t i = 0; i < list.size(); ++i) add(hash, static_cast<const T&>(list[i]));
}

void add(Sha256& hash, const std::vector<bool>& list) {
  add(hash, static_cast<uint64_t>(list.size()));
  for (const bool value : list) add(hash, value);
}

void add(Sha256& hash, const gguf::Value& value) {
  add(hash, value.type);
  add(hash, value.element_type);
  std::visit([&](const auto& data) { add(hash, data); }, value.data);
}

// What tells the files that are mapped from others, and from themselves after a change; nothing
// without files.
std::string identity(const gguf::File& file) {
  std::string text;
  for (const auto& mapping : file.mappings()) {
    std::error_code error;
    const std::string absolute = std::filesystem::absolute(mapping->path(), error).string();
    if (error) return "";
    text += absolute + "\n" + mapping->identity() + "\n";
  }
  return text;
}

std::optional<Sha256Digest> from_hex(const std::string& text) {
  Sha256Digest digest;
  if (text.size() != 2 * digest.size()) return std::nullopt;
  static constexpr std::string_view kDigits = "0123456789abcdef";
  for (size_t i = 0; i < digest.size(); ++i) {
    const size_t high = kDigits.find(text[2 * i]), low = kDigits.find(text[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    digest[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return digest;
}

}  // namespace

Sha256Digest weights_digest(const gguf::File& file, ThreadPool& pool) {
  const auto tensors = file.tensors();
  std::vector<Sha256Digest> digests(tensors.size());
  pool.for_each(static_cast<int64_t>(tensors.size()), [&](int64_t i) {
    digests[static_cast<size_t>(i)] = sha256(tensors[static_cast<size_t>(i)].data);
  });
  Sha256 hash;
  add(hash, std::string("geist weights 1"));
  add(hash, static_cast<uint64_t>(file.metadata().size()));
  for (const auto& [key, value] : file.metadata()) {
    add(hash, key);
    add(hash, value);
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    add(hash, tensors[i].name);
    add(hash, tensors[i].type);
    add(hash, tensors[i].dims);
    hash.update(std::as_bytes(std::span(digests[i])));
  }
  return hash.finish();
}

Sha256Digest cached_weights_digest(const gguf::File& file, const std::string& folder,
                                   ThreadPool& pool) {
  const std::string known_by = identity(file);
  if (known_by.empty()) return weights_digest(file, pool);
  const std::string path =
      folder + "/" + to_hex(sha256(std::as_bytes(std::span(known_by)))).substr(0, 32) + ".weights";
  if (const auto text = read_file(path, 4096); text.ok()) {
    // The identity in full, then the digest.
    if (text->size() == known_by.size() + 64 && text->starts_with(known_by))
      if (const auto digest = from_hex(text->substr(known_by.size()))) return *digest;
  }
  const Sha256Digest digest = weights_digest(file, pool);
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  static_cast<void>(write_file(path, known_by + to_hex(digest)));
  return digest;
}

}  // namespace geist::engine
