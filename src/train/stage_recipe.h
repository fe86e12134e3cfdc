// What the recipes of all stages share: how they begin and end, [train] and [optimizer].
#pragma once

#include <string>

#include "train/recipe.h"
#include "train/trainer.h"

namespace geist::train {

struct StageHead {
  std::string folder;  // of the recipe: relative paths start there
  std::string from;    // the model to go on with
  uint64_t seed = 1;
};

// `out`, for trainer->folder, and `seed`.
Status read_stage_head(const RecipeTable& root, const std::string& recipe_path, StageHead* head,
                       TrainerOptions* trainer);
// [model] from, of stages that need it.
Status read_stage_model(const RecipeTable& root, StageHead* head);
// After everything was read: no unknown key, and the recipe's hash.
Status end_stage_recipe(const Recipe& recipe, TrainerOptions* trainer);

// Writes what a finished run has made. The error says that nothing is lost.
Status save_result(const TrainedModel& trained, const std::string& path, const FloatBlock& weights,
                   std::string_view without = {});

Status read_trainer_tables(const RecipeTable& root, TrainerOptions* options);

// For stages whose steps are not shared by processes: an error when [train] asks for leaves.
Status refuse_leaves(const RecipeTable& root, const TrainerOptions& options);

// A path of a recipe that lies in `folder`; an absolute path stays as it is.
std::string beside(const std::string& folder, const std::string& path);

// How many predictions a row holds: what the recipe wants (0: all), unless the model has less.
Result<int64_t> row_context(int64_t wanted, int64_t models);

}  // namespace geist::train
