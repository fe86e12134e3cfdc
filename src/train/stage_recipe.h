// The tables of a recipe that every stage has: [train] and [optimizer].
#pragma once

#include <string>

#include "train/recipe.h"
#include "train/trainer.h"

namespace geist::train {

Status read_trainer_tables(const RecipeTable& root, TrainerOptions* options);

// For stages whose steps are not shared by processes: an error when [train] asks for leaves.
Status refuse_leaves(const RecipeTable& root, const TrainerOptions& options);

// A path of a recipe that lies in `folder`; an absolute path stays as it is.
std::string beside(const std::string& folder, const std::string& path);

// How many predictions a row holds: what the recipe wants (0: all), unless the model has less.
Result<int64_t> row_context(int64_t wanted, int64_t models);

}  // namespace geist::train
