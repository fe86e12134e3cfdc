// Sampling: from a row of logits to a token, by the chain of samplers that users of llama.cpp and
// Ollama know. Every arithmetic step has a fixed order (docs/sampling.md), and the random number of
// a token is a pure function of (seed, stream, position): a sequence can be forked, resumed or
// replayed to the same tokens.
//
// Order, as llama.cpp's default: logit bias, penalties (repetition, frequency, presence), DRY,
// top-k, typical, top-p, min-p, XTC, temperature, draw. Mirostat 2 replaces everything from top-k
// on except temperature. Temperature 0 is greedy: the largest logit after bias, penalties and DRY,
// ties to the smallest id.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/rng.h"

namespace geist::engine {

using TokenId = int32_t;

struct SamplerOptions {
  float temperature = 0.8f;  // 0: greedy
  int32_t top_k = 40;        // 0: off
  float top_p = 0.95f;       // 1: off
  float min_p = 0.05f;       // 0: off
  float typical_p = 1.0f;    // 1: off
  float xtc_probability = 0.0f,
        xtc_threshold = 0.1f;                     // off at probability 0 or threshold above 0.5
  float dry_multiplier = 0.0f, dry_base = 1.75f;  // off at multiplier 0
  int32_t dry_allowed_length = 2, dry_penalty_last_n = -1;  // -1: all
  std::vector<std::vector<TokenId>> dry_breakers = {};      // token sequences that end a match
  float repeat_penalty = 1.0f, frequency_penalty = 0.0f, presence_penalty = 0.0f;
  int32_t penalty_last_n = 64;  // -1: all, 0: off
  int32_t mirostat = 0;         // 0 or 2
  float mirostat_tau = 5.0f, mirostat_eta = 0.1f;
  std::map<TokenId, float> logit_bias =
      {};  // -infinity forbids; ids outside the vocabulary are ignored
  uint64_t seed = 0;
  int32_t min_keep = 1;  // no filter leaves fewer candidates
};

// Whether the numbers are in range; the message names the option and the range.
Status validate(const SamplerOptions& options);

struct Candidate {
  TokenId id;
  float logit;
  double weight;  // exp(logit - largest logit): the probability but for a common factor
};

// One sequence's sampler. Copyable: a copy is a fork. Not thread-safe.
class Sampler {
 public:
  // stream: which of the sequences that share a seed this is (0 for the first).
  explicit Sampler(SamplerOptions options, uint64_t stream = 0);

  // Chooses a token from logits and moves to the next position (one a call, greedy or not). Does
  // not accept the token. NaN counts as -infinity; when every token is forbidden the answer is 0.
  TokenId sample(std::span<const float> logits);
  // Tells the sampler that this token was appended (prompt tokens too: penalties see them).
  void accept(TokenId id);

  // Tokens drawn so far: with seed and stream, all of the random state.
  uint64_t position() const { return position_; }
  void seek(uint64_t position) { position_ = position; }
  const SamplerOptions& options() const { return options_; }

 private:
  void fill_candidates(std::span<const float> logits);
  void apply_penalties();
  void apply_dry();
  TokenId sample_mirostat(double u);

  SamplerOptions options_;
  RandomStream draw_, xtc_;
  uint64_t position_ = 0;
  std::vector<TokenId> history_;
  std::map<TokenId, int32_t> window_counts_;  // of the last penalty_last_n tokens of history_
  std::vector<Candidate> candidates_;         // scratch
  double mirostat_mu_;
};

// log softmax(logits)[id] in a fixed order: exp in double, 16 lanes, tree16 (docs/numerics.md).
double log_probability(std::span<const float> logits, TokenId id);
// The entropy of softmax(logits) in nats, in the same order.
double entropy(std::span<const float> logits);

}  // namespace geist::engine
