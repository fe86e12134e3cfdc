// What answers are worth: by a rule that grades them, or by a reward model.
#pragma once

#include <string>

#include "train/tasks.h"

namespace geist::train {

struct RewardOptions {
  std::string model;  // a GGUF file of geist train reward; empty: the check of the task, 1 or 0
};

// The text of an answer, without the token that ended it.
std::string text_of(const Rollout& rollout, const text::Tokenizer& tokenizer);

// Refers to the tokenizer, of the policy. unix_time_s: what the reward model's template sees as
// now.
Result<RewardFunction> make_reward(const RewardOptions& options, const text::Tokenizer& tokenizer,
                                   int64_t unix_time_s, ThreadPool& pool);

}  // namespace geist::train
