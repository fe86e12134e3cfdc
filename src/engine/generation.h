// Generation: a session, a sampler and a tokenizer make text, one token a step. The caller steps,
// so it can stop, show, or interleave many generations; nothing here waits or prints.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "engine/speculation.h"
#include "text/tokenizer.h"

namespace geist::engine {

enum class StopReason {
  kNone,       // goes on
  kEnd,        // the model ended its text or turn
  kStop,       // a stop string
  kLength,     // tokens_max reached
  kContext,    // the session is full
  kCancelled,  // the cancel flag was set
};
std::string_view stop_reason_name(
    StopReason reason);  // "end", "stop", "length", "context", "cancelled"

struct GenerationOptions {
  int32_t tokens_max = -1;              // -1: until the end or a full context
  int32_t chunk = 512;                  // prompt tokens a step: fewer answer a cancellation sooner
  std::vector<std::string> stops = {};  // text that ends the generation; it is not shown
  bool ignore_end = false;              // goes on after end-of-text tokens
  bool show_special = false;            // control tokens appear as text
  bool log_probabilities = false;       // fills GenerationStep.log_probability
  const std::atomic<bool>* cancel = nullptr;
  Speculator* speculator = nullptr;  // makes it faster; the same tokens and text
};

struct GenerationStep {
  StopReason stop = StopReason::kNone;
  TokenId token = -1;          // -1: no token was drawn in this step
  double log_probability = 0;  // of token, under the model's own distribution (before sampling)
  std::string text;  // ready to show: whole UTF-8 characters, nothing that may begin a stop string
};

// Sets of stop strings are searched in the text as it grows: at most the longest of them is held
// back.
class StopScanner {
 public:
  explicit StopScanner(std::vector<std::string> stops) : stops_(std::move(stops)) {}
  // Adds text; returns what may be shown now. found() is true from the first stop string on.
  std::string push(std::string_view text);
  // What was held back, when the text ends here.
  std::string finish();
  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

class Generation {
 public:
  // The session holds the prompt (pending or computed, at least one token); the sampler has
  // accepted it.
  Generation(Session& session, Runner& runner, Sampler& sampler, const text::Tokenizer& tokenizer,
             GenerationOptions options);

  // One forward pass at most: a chunk of prompt that is still pending, or one token. Once step.stop
  // is not kNone the generation is over and the last text was in that step.
  Result<GenerationStep> step();

  int32_t tokens_drawn() const { return drawn_; }

 private:
  Result<GenerationStep> end(StopReason reason, GenerationStep step);
  Result<GenerationStep> draw();
  int32_t draft_room() const;

  Session* session_;
  Runner* runner_;
  Sampler* sampler_;
  const text::Tokenizer* tokenizer_;
  GenerationOptions options_;
  StopScanner scanner_;
  Lookahead lookahead_;
  int32_t drawn_ = 0;
};

}  // namespace geist::engine
