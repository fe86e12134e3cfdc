// A reward model's head: one number for a sequence, from the hidden state of its last token after
// the final norm. In a GGUF file it is "cls.output.weight" ([embedding]) and, where there is one,
// "cls.output.bias", the names that llama.cpp has for classification heads; pooling_type is 4
// (rank).
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "engine/session.h"

namespace geist::engine {

inline constexpr const char* kRewardHead = "cls.output.weight";

class RewardHead {
 public:
  // An error when the model's file holds no such head.
  static Result<RewardHead> load(const model::Model& model);

  // The reward of a sequence of 1 token at least; an error when it is longer than the context.
  // Equal to the trainer's to the bit.
  Result<float> score(Runner& runner, std::span<const TokenId> ids) const;

 private:
  explicit RewardHead(const model::Model& model) : model_(&model) {}
  const model::Model* model_;
  std::vector<float> weight_;
  float bias_ = 0;
};

}  // namespace geist::engine
