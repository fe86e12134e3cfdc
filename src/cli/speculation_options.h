// The options of speculative decoding, for run and chat: --speculate, --draft, --draft-max.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cli/model_options.h"
#include "engine/speculation.h"

namespace CLI {
class App;
}

namespace geist::cli {

struct SpeculationFlags {
  std::string mode = "auto";  // "auto", "off", "ngram"
  std::string draft;          // a model; empty: none
  int32_t draft_max = 16;
};

void add_speculation_options(CLI::App& app, SpeculationFlags& flags);

// Null when it is off. Refers to loaded.
Result<std::unique_ptr<engine::Speculator>> make_speculator(const SpeculationFlags& flags,
                                                            const SpeakingModel& loaded);

}  // namespace geist::cli
