// The tables of a recipe that every stage has: [train] and [optimizer].
#pragma once

#include "train/recipe.h"
#include "train/trainer.h"

namespace geist::train {

Status read_trainer_tables(const RecipeTable& root, TrainerOptions* options);

}  // namespace geist::train
