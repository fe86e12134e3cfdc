// What answers are asked for in reinforcement learning, and what they are worth.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "train/rollout.h"

namespace geist::train {

struct Task {
  std::vector<text::TokenId> prompt;
  std::string messages, tools;  // JSON, that the prompt was rendered from; for reward models
  std::string check;            // for grade() (world_grader.h); empty: there is none
};

// Task i of a run, or of those held out.
using TaskSource = std::function<Result<Task>(int64_t index)>;

struct Answered {
  const Task* task;
  const Rollout* rollout;
};

// The reward of each answer. A function of its arguments: resumed runs ask again.
using RewardFunction =
    std::function<Result<std::vector<double>>(std::span<const Answered> answers)>;

}  // namespace geist::train
