// Rollouts: answers that the model being trained gives, made by the engine as it serves them. A
// group of answers to one prompt forks the session that read it, so the prompt's pages are shared;
// answers begin and end in the same passes as others do. No bit of an answer depends on which.
//
// Tokens are drawn from the model's own distribution (temperature 1, no filter), so that their
// log-probabilities are those of the policy whose gradient is taken; or greedily, to validate.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "engine/sampler.h"
#include "engine/session.h"
#include "text/tokenizer.h"

namespace geist::train {

struct RolloutOptions {
  int32_t tokens_max = 64;  // of an answer; less where the context ends
  int64_t at_once = 32;     // answers in the same passes: less memory, the same bits
  bool greedy = false;
  uint64_t seed = 1;
};

struct Rollout {
  std::vector<text::TokenId> ids;  // the prompt, then the answer with the token that ended it
  int64_t prompt = 0;              // ids of the prompt
  std::vector<double> log_probabilities;  // of the answer's tokens
  double entropy = 0;                     // nats a token, mean over the answer
  bool ended = false;                     // false: cut off
  int64_t tokens() const { return static_cast<int64_t>(ids.size()) - prompt; }
  std::span<const text::TokenId> answer() const {
    return std::span(ids).subspan(static_cast<size_t>(prompt));
  }
};

class RolloutMaker {
 public:
  // Reads the model's weights as they are at each call.
  RolloutMaker(const model::Model& model, const text::Tokenizer& tokenizer, ThreadPool& pool,
               const RolloutOptions& options);

  // `group` answers to each prompt, in order. Answer i draws from stream first_stream + i.
  Result<std::vector<Rollout>> make(std::span<const std::vector<text::TokenId>> prompts,
                                    int64_t group, uint64_t first_stream);

 private:
  struct Active {
    engine::Session session;
    engine::Sampler sampler;
    Rollout* rollout;
    int32_t limit;  // tokens of the answer
    text::TokenId token = -1;
  };
  Result<engine::Session> read(const std::vector<text::TokenId>& prompt);
  engine::SamplerOptions sampling() const;
  void draw(Active& active) const;
  Status advance();

  const model::Model* model_;
  const text::Tokenizer* tokenizer_;
  ThreadPool* pool_;
  RolloutOptions options_;
  engine::Runner runner_;
  std::list<Active> active_;
};

}  // namespace geist::train
