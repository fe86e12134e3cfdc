// `geist train reward RECIPE.toml`: from a model and rankings of answers to a reward model, a GGUF
// file that the engine serves (engine/reward_head.h).
//
//   out = "runs/reward"            # folder of the run, beside the recipe unless absolute
//   seed = 1
//   [model]
//   from = "chat.gguf"
//   [data]                         # preference_data.h
//   files = ["pairs.jsonl"]
//   [train] [optimizer]            # batch_rows: rankings of a step
#pragma once

#include <functional>
#include <string>

#include "train/preference_data.h"
#include "train/reward_objective.h"
#include "train/stage_recipe.h"

namespace geist::train {

struct RewardStageOptions : StageHead {
  PreferenceDataOptions data;
  TrainerOptions trainer;
};

// Reads every key; an unknown one is an error.
Result<RewardStageOptions> read_reward_recipe(const Recipe& recipe, const std::string& recipe_path);

struct RewardSummary {
  TrainResult result;
  std::string weights_sha256, model_path;
  int64_t parameters = 0;
  int64_t train = 0, held_out = 0, dropped = 0;  // rankings
  // How often the longer answer (or the shorter, whichever is so more often in training) of a
  // held-out pair is the better one: what a reward that sees nothing but length would reach.
  double length_baseline = 0;
  RewardQuality quality;
};

// Told of the data before training begins.
using RewardStart = std::function<void(const RewardSummary& so_far, const std::string& hash)>;

Result<RewardSummary> run_reward_stage(const RewardStageOptions& options, ThreadPool& pool,
                                       const RewardStart& start, const TrainObserver& observer);

}  // namespace geist::train
