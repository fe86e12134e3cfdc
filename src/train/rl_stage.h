// `geist train rl RECIPE.toml`: from a model that answers to one that answers better, by
// preferences (preference_objective.h) or by rewards (policy_objective.h).
//
//   out = "runs/grpo"              # folder of the run, beside the recipe unless absolute
//   algorithm = "grpo"             # or "rloo", "ppo"; "dpo", "ipo", "kto"
//   seed = 1
//   [model]
//   from = "chat.gguf"             # reference = another file; the same one otherwise
//   [tasks]                        # task_data.h; of dpo, ipo and kto: [data], preference_data.h
//   skills = ["arithmetic"]
//   [reward]  [gold]               # rewards.h: model = "reward.gguf", or the tasks' checks
//   [rollout]  [policy]            # of dpo, ipo and kto: [preference]; keys in rl_recipe.cc
//   [train] [optimizer]            # batch_rows: tasks of a step, or pairs
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "train/policy_objective.h"
#include "train/preference_data.h"
#include "train/preference_objective.h"
#include "train/rewards.h"
#include "train/stage_recipe.h"
#include "train/task_data.h"

namespace geist::train {

struct RlOptions : StageHead {
  std::string algorithm, reference;
  bool by_preferences = false;  // dpo, ipo, kto: what follows, and not the rest
  PreferenceDataOptions data;
  PreferenceOptions preference;
  TaskOptions tasks;
  RewardOptions reward;
  std::optional<RewardOptions> gold;
  PolicyOptions policy;
  TrainerOptions trainer;
};

// Reads every key; an unknown one is an error.
Result<RlOptions> read_rl_recipe(const Recipe& recipe, const std::string& recipe_path);

struct RlSummary {
  TrainResult result;
  std::string weights_sha256, model_path;
  int64_t parameters = 0;
  int64_t train = 0, held_out = 0, dropped = 0;  // preferences
};

// Told of the data before training begins.
using RlStart = std::function<void(const RlSummary& so_far, const std::string& hash)>;

Result<RlSummary> run_rl_stage(const RlOptions& options, ThreadPool& pool, const RlStart& start,
                               const TrainObserver& observer);

}  // namespace geist::train
