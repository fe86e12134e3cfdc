#include "train/reward_stage.h"

#include "base/file.h"
#include "model/hf_import.h"
#include "model/load_tokenizer.h"
#include "train/scalar_head.h"

namespace geist::train {
namespace {

constexpr uint32_t kPoolingRank = 4;  // llama.cpp's number

Result<gguf::File> open_base(const RewardStageOptions& o) {
  GEIST_ASSIGN(gguf::File file, model::open_model_file(beside(o.folder, o.from)));
  GEIST_ASSIGN(file, with_scalar_head(std::move(file), engine::kRewardHead));
  gguf::Metadata metadata = file.metadata();
  GEIST_ASSIGN(const auto architecture, gguf::get_string(metadata, "general.architecture"));
  const std::string prefix = architecture.value_or("");
  metadata[prefix + ".pooling_type"] = gguf::Value::u32(kPoolingRank);
  metadata[prefix + ".classifier.output_labels"] = gguf::Value::strings({"reward"});
  const auto owner = std::make_shared<gguf::File>(std::move(file));
  return gguf::File::assemble(std::move(metadata),
                              {owner->tensors().begin(), owner->tensors().end()}, owner,
                              owner->name());
}

std::vector<RankedAnswers> rankings_of(const std::vector<EncodedPreference>& preferences) {
  std::vector<RankedAnswers> rankings;
  for (const EncodedPreference& p : preferences)
    if (p.answers.size() >= 2) rankings.emplace_back(p);
  return rankings;
}

// Among pairs of different length, the share in which the longer answer is better.
double longer_is_better(const std::vector<EncodedPreference>& preferences) {
  double longer = 0, pairs = 0;
  for (const EncodedPreference& p : preferences) {
    for (size_t i = 0; i < p.answers.size(); ++i) {
      for (size_t j = i + 1; j < p.answers.size(); ++j) {
        const int64_t better = p.answers[i].learned, worse = p.answers[j].learned;
        longer += better > worse ? 1 : better == worse ? 0.5 : 0;
        pairs += 1;
      }
    }
  }
  return pairs > 0 ? longer / pairs : 0.5;
}

}  // namespace

Result<RewardStageOptions> read_reward_recipe(const Recipe& recipe,
                                              const std::string& recipe_path) {
  RewardStageOptions o;
  const RecipeTable root = recipe.root();
  GEIST_TRY(read_stage_head(root, recipe_path, &o, &o.trainer));
  GEIST_TRY(read_stage_model(root, &o));
  GEIST_ASSIGN(const RecipeTable data, root.table("data"));
  GEIST_TRY(read_preference_data(data, &o.data));
  o.trainer.optimizer.learning_rate = 5e-5;
  o.trainer.optimizer.weight_decay = 0;
  GEIST_TRY(read_trainer_tables(root, &o.trainer));
  GEIST_TRY(refuse_leaves(root, o.trainer));
  GEIST_TRY(end_stage_recipe(recipe, &o.trainer));
  return o;
}

Result<RewardSummary> run_reward_stage(const RewardStageOptions& options, ThreadPool& pool,
                                       const RewardStart& start, const TrainObserver& observer) {
  const std::string path = beside(options.trainer.folder, "model.gguf");
  GEIST_TRY(refuse_overwriting(path, {{beside(options.folder, options.from)}}));
  GEIST_ASSIGN(const gguf::File file, open_base(options));
  GEIST_ASSIGN(TrainedModel trained, TrainedModel::make(file));
  GEIST_ASSIGN(const text::Tokenizer tokenizer, model::load_tokenizer(trained.metadata()));
  GEIST_ASSIGN(const ChatEncoder encoder,
               ChatEncoder::create(trained.metadata(), tokenizer, options.data.unix_time_s));
  GEIST_ASSIGN(const PreferenceData data,
               load_preference_data(options.data, options.folder, encoder,
                                    trained.model().config().context_length));
  const auto train = rankings_of(data.train), held_out = rankings_of(data.validation);
  if (train.empty()) return errorf("data.files hold no pairs or rankings to learn from");
  RewardObjective objective({.batch = options.trainer.batch_rows,
                             .at_once = options.trainer.rows_at_once,
                             .seed = options.seed},
                            train, held_out);
  GEIST_ASSIGN(Optimizer optimizer, Optimizer::make(trained, options.trainer.optimizer, pool));
  RewardSummary summary;
  summary.parameters = trained.parameter_count();
  summary.train = static_cast<int64_t>(train.size());
  summary.held_out = static_cast<int64_t>(held_out.size());
  summary.dropped = data.dropped;
  const double longer = longer_is_better(data.validation);
  summary.length_baseline = longer_is_better(data.train) >= 0.5 ? longer : 1 - longer;
  start(summary, trained.hash());
  GEIST_ASSIGN(summary.result,
               run_training(trained, optimizer, objective, options.trainer, pool, observer));
  summary.weights_sha256 = trained.hash();
  summary.quality = objective.quality();
  if (!summary.result.finished) return summary;
  summary.model_path = path;
  GEIST_TRY(save_result(trained, path, optimizer.averaged()));
  return summary;
}

}  // namespace geist::train
