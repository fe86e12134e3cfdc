#include <algorithm>

#include "train/rl_stage.h"

namespace geist::train {
namespace {

Status read_preference(const RecipeTable& t, PreferenceOptions* o) {
  GEIST_TRY(t.read("beta", &o->beta, {.min = 1e-6, .max = 1e6}));
  if (o->kind == PreferenceKind::kDpo)
    GEIST_TRY(t.read("smoothing", &o->smoothing, {.min = 0, .max = 0.5}));
  if (o->kind != PreferenceKind::kKto) return {};
  GEIST_TRY(t.read("desirable_weight", &o->desirable_weight, {.min = 0, .max = 1e6}));
  return t.read("undesirable_weight", &o->undesirable_weight, {.min = 0, .max = 1e6});
}

Status read_rollout(const RecipeTable& t, PolicyOptions* o) {
  o->group = o->kind == PolicyKind::kPpo ? 1 : 8;
  const int64_t least = o->kind == PolicyKind::kPpo ? 1 : 2;
  GEIST_TRY(t.read("group", &o->group, {.min = least, .max = 1 << 16}));
  GEIST_TRY(t.read("tokens_max", &o->rollout.tokens_max, {.min = 1, .max = 1 << 20}));
  return t.read("at_once", &o->rollout.at_once, {.min = 1, .max = 1 << 16});
}

Status read_policy(const RecipeTable& t, PolicyOptions* o) {
  const bool ppo = o->kind == PolicyKind::kPpo;
  GEIST_TRY(t.read("epochs", &o->epochs, {.min = 1, .max = 1000}));
  GEIST_TRY(t.read("minibatches", &o->minibatches, {.min = 1, .max = 1 << 16}));
  GEIST_TRY(t.read("clip", &o->clip.low, {.min = 0, .max = 1}));
  o->clip.high = o->clip.low;
  GEIST_TRY(t.read("clip_high", &o->clip.high, {.min = 0, .max = 100}));
  std::string mean = "tokens";
  GEIST_TRY(t.read_choice("mean", &mean, {"tokens", "answers"}));
  o->mean_of_answers = mean == "answers";
  GEIST_TRY(t.read("kl_price", &o->kl_price, {.min = 0, .max = 1e6}));
  GEIST_TRY(t.read("kl_target", &o->kl_target, {.min = 0, .max = 1e6}));
  GEIST_TRY(t.read("kl_horizon", &o->kl_horizon, {.min = 1, .max = 1e12}));
  GEIST_TRY(t.read("kl_budget", &o->kl_budget, {.min = 0, .max = 1e6}));
  GEIST_TRY(t.read("validation_tasks", &o->held_out, {.min = 0, .max = 1 << 20}));
  if (o->kind == PolicyKind::kGrpo) return t.read("scale_advantages", &o->scale_advantages);
  if (!ppo) return {};
  GEIST_TRY(t.read("discount", &o->discount, {.min = 0, .max = 1}));
  GEIST_TRY(t.read("lambda", &o->lambda, {.min = 0, .max = 1}));
  GEIST_TRY(t.read("value_price", &o->value_price, {.min = 0, .max = 1e6}));
  return t.read("value_clip", &o->value_clip, {.min = 0, .max = 1e6});
}

Status read_reward(const RecipeTable& t, const std::string& folder, RewardOptions* o) {
  GEIST_TRY(t.read("model", &o->model));
  if (!o->model.empty()) o->model = beside(folder, o->model);
  return {};
}

Status read_by_preferences(const RecipeTable& root, RlOptions* o) {
  o->preference.kind = o->algorithm == "dpo"   ? PreferenceKind::kDpo
                       : o->algorithm == "ipo" ? PreferenceKind::kIpo
                                               : PreferenceKind::kKto;
  o->preference.seed = o->seed;
  GEIST_ASSIGN(const RecipeTable data, root.table("data"));
  GEIST_TRY(read_preference_data(data, &o->data));
  GEIST_ASSIGN(const RecipeTable preference, root.table("preference"));
  return read_preference(preference, &o->preference);
}

Status read_by_rewards(const RecipeTable& root, RlOptions* o) {
  o->policy.kind = o->algorithm == "ppo"    ? PolicyKind::kPpo
                   : o->algorithm == "grpo" ? PolicyKind::kGrpo
                                            : PolicyKind::kRloo;
  o->policy.rollout.seed = o->seed;
  GEIST_ASSIGN(const RecipeTable tasks, root.table("tasks"));
  GEIST_TRY(read_task_options(tasks, &o->tasks));
  GEIST_ASSIGN(const RecipeTable rollout, root.table("rollout"));
  GEIST_TRY(read_rollout(rollout, &o->policy));
  GEIST_ASSIGN(const RecipeTable policy, root.table("policy"));
  GEIST_TRY(read_policy(policy, &o->policy));
  GEIST_ASSIGN(const RecipeTable reward, root.table("reward"));
  GEIST_TRY(read_reward(reward, o->folder, &o->reward));
  if (!root.has("gold")) return {};
  GEIST_ASSIGN(const RecipeTable gold, root.table("gold"));
  return read_reward(gold, o->folder, &o->gold.emplace());
}

}  // namespace

Result<RlOptions> read_rl_recipe(const Recipe& recipe, const std::string& recipe_path) {
  RlOptions o;
  const RecipeTable root = recipe.root();
  GEIST_TRY(read_stage_head(root, recipe_path, &o, &o.trainer));
  GEIST_TRY(root.require("algorithm"));
  GEIST_TRY(
      root.read_choice("algorithm", &o.algorithm, {"ppo", "grpo", "rloo", "dpo", "ipo", "kto"}));
  o.by_preferences = o.algorithm == "dpo" || o.algorithm == "ipo" || o.algorithm == "kto";
  GEIST_TRY(read_stage_model(root, &o));
  GEIST_ASSIGN(const RecipeTable model, root.table("model"));
  GEIST_TRY(model.read("reference", &o.reference));
  if (o.reference.empty()) o.reference = o.from;
  // What reinforcement learning wants of the optimiser is less than what pre-training does.
  o.trainer.optimizer.learning_rate = 1e-5;
  o.trainer.optimizer.weight_decay = 0;
  GEIST_TRY(o.by_preferences ? read_by_preferences(root, &o) : read_by_rewards(root, &o));
  GEIST_TRY(read_trainer_tables(root, &o.trainer));
  GEIST_TRY(refuse_leaves(root, o.trainer));
  GEIST_TRY(end_stage_recipe(recipe, &o.trainer));
  o.preference.batch = o.policy.tasks = o.trainer.batch_rows;
  o.preference.at_once = o.policy.rows_at_once = o.trainer.rows_at_once;
  if (!o.by_preferences) {
    const int64_t updates = o.policy.updates();
    Schedule& schedule = o.trainer.optimizer.schedule;
    for (int64_t* steps : {&schedule.steps, &schedule.warmup_steps, &schedule.decay_steps})
      *steps *= updates;
    o.trainer.updates_per_step = updates;
  }
  o.trainer.validate_first = true;
  return o;
}

}  // namespace geist::train
