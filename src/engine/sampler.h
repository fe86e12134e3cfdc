// Sampling: from a row of logits to a token, by the chain of samplers that users of llama.cpp and Ollama
// know. Every arithmetic step has a fixed order, and the random number of a token is a pure function of
// (seed, stream, position): a sequence can be forked, resumed or replayed to the same tokens.
//
// Order, as llama.cpp's default: logit bias, penalties (repetition, frequency, presence), DRY, top-k,
// typical, top-p, min-p, XTC, temperature, draw. Mirostat 2 replaces everything from top-k on. Temperature 0
// is greedy: the largest logit after bias and penalties, ties to the smallest id.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/rng.h"

namespace geist::engine {

using TokenId = int32_t;

struct SamplerOptions {
  float temperature = 0.8f;
  int32_t top_k = 40;         // 0: off
  float top_p = 0.95f;        // 1: off
  float min_p = 0.05f;        // 0: off
  float typical_p = 1.0f;     // 1: off
  float xtc_probability = 0.0f, xtc_threshold = 0.1f;
  float dry_multiplier = 0.0f, dry_base = 1.75f;
  int32_t dry_allowed_length = 2, dry_penalty_last_n = -1;  // -1: all
  std::vector<std::vector<TokenId>> dry_breakers;  // token sequences that end a match
  float repeat_penalty = 1.0f, frequency_penalty = 0.0f, presence_penalty = 0.0f;
  int32_t penalty_last_n = 64;  // -1: all, 0: off
  int32_t mirostat = 0;         // 0 or 2
  float mirostat_tau = 5.0f, mirostat_eta = 0.1f;
  std::map<TokenId, float> logit_bias;  // -infinity forbids
  uint64_t seed = 0;
  int32_t min_keep = 1;
};

// Whether the numbers are in range; the message names the option and the range.
Status validate(const SamplerOptions& options);

struct Candidate {
  TokenId id;
  float logit;
  float probability;
};

// One sequence's sampler. Copyable: a copy is a fork. Not thread-safe.
class Sampler {
 public:
  // stream: which of the sequences that share a seed this is (0 for the first).
  explicit Sampler(SamplerOptions options, uint64_t stream = 0);

  // Chooses a token from logits (changed in place by bias and penalties is NOT visible: logits are const) at
  // the current position, and does not yet accept it.
  TokenId sample(std::span<const float> logits);
  // Tells the sampler that this token was appended (prompt tokens too: penalties see them).
  void accept(TokenId id);

  uint64_t position() const;  // tokens drawn so far: with seed and stream, all of the random state
  const SamplerOptions& options() const;

 private:
  SamplerOptions options_;
  RandomStream random_;
  std::vector<TokenId> history_;
  std::vector<Candidate> candidates_;  // scratch
  float mirostat_mu_ = 0;
};

// log softmax(logits)[id] in a fixed order (double accumulation over 16 lanes).
double log_probability(std::span<const float> logits, TokenId id);

}  // namespace geist::engine
