// Fine-tuning on conversations: `geist train sft RECIPE.toml` changes all weights of a model,
// `geist train lora RECIPE.toml` trains an adapter beside a base that stays as it is.
//
//   out = "runs/chat"              # folder of the run, beside the recipe unless absolute
//   seed = 1
//   [model]
//   from = "base.gguf"             # lora: of any type, quantised ones too
//   [data]                         # chat_data.h
//   files = ["chats.jsonl", "alpaca.json"]
//   [lora]                         # of lora alone
//   rank = 16  alpha = 32  targets = ["attn_q", "attn_v"]
//   [train] [optimizer]            # as for geist train base; train.context: of a row
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "base/result.h"
#include "train/chat_data.h"
#include "train/stage_recipe.h"

namespace geist::train {

struct SftOptions : StageHead {
  ChatDataOptions data;
  int64_t context = 0;  // of a row; 0: the model's
  TrainerOptions trainer;
  std::optional<LoraOptions> lora;  // none: all weights are trained
};

enum class SftKind { kAllWeights, kAdapter };

// Reads every key; an unknown one is an error.
Result<SftOptions> read_sft_recipe(const Recipe& recipe, const std::string& recipe_path,
                                   SftKind kind);

struct SftSummary {
  TrainResult result;
  std::string weights_sha256, model_path;
  int64_t parameters = 0;  // that are trained
  int64_t conversations = 0, sequences = 0, dropped = 0, truncated = 0;
  int64_t learned_tokens = 0, validation_tokens = 0;
  int64_t epoch_steps = 0;
};

// Told of the data before training begins.
using SftStart = std::function<void(const SftSummary& so_far, const std::string& hash)>;

Result<SftSummary> run_sft_stage(const SftOptions& options, ThreadPool& pool, const SftStart& start,
                                 const TrainObserver& observer);

}  // namespace geist::train
