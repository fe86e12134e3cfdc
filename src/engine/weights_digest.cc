#include "engine/weights_digest.h"

#include <sys/stat.h>

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

// What tells that the files are still those whose digest was remembered; nothing without files, or
// when what lies there is not what was mapped, as far as the size tells.
std::optional<std::string> identity(const gguf::File& file) {
  std::string text;
  uint64_t bytes = 0;
  for (const std::string& path : file.paths()) {
    struct stat info {};
    std::error_code error;
    const std::string absolute = std::filesystem::absolute(path, error).string();
    if (error || ::stat(path.c_str(), &info) != 0) return std::nullopt;
    const auto nanoseconds = [](const timespec& t) {
      return std::to_string(int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec);
    };
    text += absolute + "\n" + std::to_string(info.st_dev) + " " + std::to_string(info.st_ino) +
            " " + std::to_string(info.st_size) + " " + nanoseconds(info.st_mtim) + " " +
            nanoseconds(info.st_ctim) + "\n";
    bytes += static_cast<uint64_t>(info.st_size);
  }
  if (text.empty() || bytes != file.file_bytes()) return std::nullopt;
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
  const auto known_by = identity(file);
  if (!known_by) return weights_digest(file, pool);
  const std::string path =
      folder + "/" + to_hex(sha256(std::as_bytes(std::span(*known_by)))).substr(0, 32) + ".weights";
  if (const auto text = read_file(path, 4096); text.ok()) {
    // The identity in full, then the digest.
    if (text->size() == known_by->size() + 64 && text->starts_with(*known_by))
      if (const auto digest = from_hex(text->substr(known_by->size()))) return *digest;
  }
  const Sha256Digest digest = weights_digest(file, pool);
  if (identity(file) != known_by) return digest;  // replaced meanwhile: this is not its digest
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  static_cast<void>(write_file(path, *known_by + to_hex(digest)));
  return digest;
}

}  // namespace geist::engine
