// The options of the sampling chain, with llama.cpp's names, for run and chat.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "engine/sampler.h"
#include "text/tokenizer.h"

namespace CLI {
class App;
}

namespace geist::cli {

struct SamplerFlags {
  engine::SamplerOptions options;
  std::optional<uint64_t> seed;           // absent: from the operating system
  std::vector<std::string> logit_bias;    // "15043+1.5", "15043-inf"
  std::vector<std::string> dry_breakers;  // absent: newline, colon, quote, asterisk
};

void add_sampler_options(CLI::App& app, SamplerFlags& flags);

// What can be said of the words alone, before a model is loaded: a bias that does not parse, a
// number out of range.
Status check_sampler_flags(const SamplerFlags& flags);

// The finished options: biases parsed, breakers in tokens, a seed chosen, everything in range.
Result<engine::SamplerOptions> finish_sampler_options(const SamplerFlags& flags,
                                                      const text::Tokenizer& tokenizer);

// Sets one option by its long name ("temp", "0.5"), as /set in a chat does.
Status set_sampler_option(engine::SamplerOptions& options, const std::string& name,
                          const std::string& value, const text::Tokenizer& tokenizer);
// Names and values, a line each.
std::string describe_sampler_options(const engine::SamplerOptions& options);

}  // namespace geist::cli
