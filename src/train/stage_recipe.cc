#include "train/stage_recipe.h"

#include <algorithm>
#include <filesystem>

namespace geist::train {
namespace {

constexpr int64_t kStepsMax = int64_t{1} << 40, kRowsMax = 1 << 20;

Status read_train(const RecipeTable& t, TrainerOptions* o) {
  GEIST_TRY(t.read("steps", &o->optimizer.schedule.steps, {.min = 1, .max = kStepsMax}));
  GEIST_TRY(t.read("batch_rows", &o->batch_rows, {.min = 1, .max = kRowsMax}));
  o->rows_at_once = std::min(o->batch_rows, o->rows_at_once);
  GEIST_TRY(t.read("rows_at_once", &o->rows_at_once, {.min = 1, .max = kRowsMax}));
  GEIST_TRY(t.read("leaf_rows", &o->leaf_rows, {.min = 0, .max = kRowsMax}));
  GEIST_TRY(t.read("recompute", &o->activations.recompute));
  std::string type = "f32";
  GEIST_TRY(t.read_choice("activations", &type, {"f32", "bf16", "f16"}));
  o->activations.type = type == "bf16"  ? kernels::TensorType::kBF16
                        : type == "f16" ? kernels::TensorType::kF16
                                        : kernels::TensorType::kF32;
  GEIST_TRY(t.read("validate_every", &o->validate_every, {.min = 0, .max = kStepsMax}));
  GEIST_TRY(t.read("checkpoint_every", &o->checkpoint_every, {.min = 0, .max = kStepsMax}));
  return t.read("keep_checkpoints", &o->keep_checkpoints, {.min = 1, .max = 1000});
}

Status read_schedule(const RecipeTable& t, Schedule* s) {
  std::string kind = "cosine";
  GEIST_TRY(t.read_choice("schedule", &kind, {"cosine", "wsd", "constant"}));
  s->kind = kind == "cosine" ? ScheduleKind::kCosine
            : kind == "wsd"  ? ScheduleKind::kStableDecay
                             : ScheduleKind::kConstant;
  GEIST_TRY(t.read("warmup_steps", &s->warmup_steps, {.min = 0, .max = s->steps}));
  s->decay_steps = s->steps / 5;
  GEIST_TRY(t.read("decay_steps", &s->decay_steps, {.min = 0, .max = s->steps}));
  return t.read("final_ratio", &s->final_ratio, {.min = 0, .max = 1});
}

Status read_optimizer(const RecipeTable& t, OptimizerOptions* o) {
  std::string kind = "adamw";
  GEIST_TRY(t.read_choice("kind", &kind, {"adamw", "muon"}));
  o->kind = kind == "muon" ? OptimizerKind::kMuon : OptimizerKind::kAdamW;
  GEIST_TRY(t.read("learning_rate", &o->learning_rate, {.min = 0, .max = 10}));
  GEIST_TRY(t.read("beta1", &o->beta1, {.min = 0, .max = 0.9999}));
  GEIST_TRY(t.read("beta2", &o->beta2, {.min = 0, .max = 0.99999}));
  GEIST_TRY(t.read("eps", &o->eps, {.min = 1e-30, .max = 1}));
  GEIST_TRY(t.read("weight_decay", &o->weight_decay, {.min = 0, .max = 10}));
  GEIST_TRY(t.read("clip", &o->clip, {.min = 0, .max = 1e9}));
  GEIST_TRY(t.read("muon_learning_rate", &o->muon_learning_rate, {.min = 0, .max = 10}));
  GEIST_TRY(t.read("muon_momentum", &o->muon_momentum, {.min = 0, .max = 0.9999}));
  GEIST_TRY(t.read("average", &o->average, {.min = 0, .max = 0.99999}));
  return read_schedule(t, &o->schedule);
}

}  // namespace

Status read_stage_head(const RecipeTable& root, const std::string& recipe_path, StageHead* head,
                       TrainerOptions* trainer) {
  head->folder = std::filesystem::path(recipe_path).parent_path().string();
  std::string out;
  GEIST_TRY(root.require("out"));
  GEIST_TRY(root.read("out", &out));
  trainer->folder = beside(head->folder, out);
  return root.read("seed", &head->seed);
}

Status read_stage_model(const RecipeTable& root, StageHead* head) {
  GEIST_ASSIGN(const RecipeTable model, root.table("model"));
  GEIST_TRY(model.require("from"));
  return model.read("from", &head->from);
}

Status end_stage_recipe(const Recipe& recipe, TrainerOptions* trainer) {
  GEIST_TRY(recipe.check_all_read());
  trainer->recipe_hash = recipe.hash();
  return {};
}

Status save_result(const TrainedModel& trained, const std::string& path, const FloatBlock& weights,
                   std::string_view without) {
  const Status status = trained.save(path, weights, without);
  if (status.ok()) return status;
  return errorf("%s; its last checkpoint is kept: the same command writes it when this is mended",
                status.error().message.c_str());
}

Status read_trainer_tables(const RecipeTable& root, TrainerOptions* options) {
  GEIST_ASSIGN(const RecipeTable train, root.table("train"));
  GEIST_TRY(read_train(train, options));
  GEIST_ASSIGN(const RecipeTable optimizer, root.table("optimizer"));
  return read_optimizer(optimizer, &options->optimizer);
}

Status refuse_leaves(const RecipeTable& root, const TrainerOptions& options) {
  if (options.leaf_rows == 0) return {};
  GEIST_ASSIGN(const RecipeTable train, root.table("train"));
  return train.error("leaf_rows", "this stage runs in one process and has no leaves");
}

std::string beside(const std::string& folder, const std::string& path) {
  return (std::filesystem::path(folder) / path).string();
}

Result<int64_t> row_context(int64_t wanted, int64_t models) {
  if (wanted > models)
    return errorf("train.context = %lld is more than the model's %lld",
                  static_cast<long long>(wanted), static_cast<long long>(models));
  return wanted > 0 ? wanted : models;
}

}  // namespace geist::train
