// Where the optional test data lies: the folder named by GEIST_SHARED, or "shared" beside the
// source tree. Tests that need it skip with a message when it is absent.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace geist::testing {

inline std::optional<std::string> shared_path(std::string_view relative) {
  const char* named = std::getenv("GEIST_SHARED");
  const std::string root = named != nullptr ? named : std::string(GEIST_SOURCE_DIR) + "/../shared";
  std::string path = root + "/" + std::string(relative);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  return path;
}

// A file of the golden set (tests/golden/README.md): the whole set where the shared data is, else
// the part of it that lies in the repository.
inline std::optional<std::string> golden_path(std::string_view relative) {
  if (auto path = shared_path("data/golden/dev/" + std::string(relative))) return path;
  std::string path = std::string(GEIST_SOURCE_DIR) + "/tests/golden/" + std::string(relative);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return std::nullopt;
  return path;
}

}  // namespace geist::testing
