// The first stage, `geist train base RECIPE.toml`: from text and a tokenizer to a base model.
//
//   out = "runs/tiny"              # folder of the run, beside the recipe unless absolute
//   seed = 1
//   [model]                        # a new model ...
//   tokenizer = "tok.gguf"
//   architecture = "llama"         # or "gpt2"
//   layers = 4  width = 256  heads = 4  kv_heads = 4  feed_forward = 704  context = 256
//   from = "old.gguf"              # ... or an old one, trained further
//   [data]
//   files = ["a.txt", "b.jsonl"]   # or: shards = ["shards"], folders of `geist train data`
//   [train] [optimizer]            # see base_stage.cc: every key has a default
#pragma once

#include <string>

#include "base/result.h"
#include "train/base_data.h"
#include "train/new_model.h"
#include "train/stage_recipe.h"

namespace geist::train {

struct BaseOptions : StageHead {
  std::string tokenizer;  // of a model that begins here; `from` is empty then
  ModelShape shape;
  BaseData data;
  int64_t context = 0;  // of a row; 0: the model's
  TrainerOptions trainer;
};

// Reads every key; an unknown one is an error.
Result<BaseOptions> read_base_recipe(const Recipe& recipe, const std::string& recipe_path);

struct BaseSummary {
  TrainResult result;
  std::string weights_sha256, model_path;
  int64_t parameters = 0, train_tokens = 0, validation_tokens = 0;
};

// Told of the corpus before training begins.
using BaseStart = std::function<void(const BaseSummary& so_far, const std::string& hash)>;

Result<BaseSummary> run_base_stage(const BaseOptions& options, ThreadPool& pool,
                                   const BaseStart& start, const TrainObserver& observer);

}  // namespace geist::train
