#include "train/rl_stage.h"

#include "base/file.h"
#include "model/hf_import.h"
#include "model/load_tokenizer.h"

namespace geist::train {
namespace {

Result<TrainedModel> open_policy(const RlOptions& o) {
  GEIST_ASSIGN(gguf::File file, model::open_model_file(beside(o.folder, o.from)));
  if (!o.by_preferences && o.policy.kind == PolicyKind::kPpo) {
    GEIST_ASSIGN(file, with_scalar_head(std::move(file), kValueHead));
  }
  return TrainedModel::make(file);
}

Result<TrainedModel> open_reference(const RlOptions& o, const TrainedModel& policy) {
  GEIST_ASSIGN(const gguf::File file, model::open_model_file(beside(o.folder, o.reference)));
  GEIST_ASSIGN(TrainedModel reference, TrainedModel::make(file));
  if (reference.model().config().vocab_size != policy.model().config().vocab_size)
    return errorf(
        "%s: the reference has a vocabulary of another size than the model that is trained",
        file.name().c_str());
  return reference;
}

std::vector<AnswerPair> pairs_of(const std::vector<EncodedPreference>& preferences, bool kto) {
  std::vector<AnswerPair> pairs;
  const auto sequence = [](const EncodedChat& chat) {
    return TrainSequence{chat.ids, chat.weights};
  };
  for (const EncodedPreference& p : preferences) {
    if (p.label) {  // of no use but to KTO
      if (kto && *p.label) pairs.push_back({.chosen = sequence(p.answers[0])});
      if (kto && !*p.label) pairs.push_back({.rejected = sequence(p.answers[0])});
      continue;
    }
    // The best of a ranking against each of the others.
    for (size_t i = 1; i < p.answers.size(); ++i)
      pairs.push_back({sequence(p.answers[0]), sequence(p.answers[i])});
  }
  return pairs;
}

// What a run needs beside the model that it trains.
struct Stage {
  const RlOptions& o;
  const TrainedModel& trained;
  const TrainedModel& reference;
  const text::Tokenizer& tokenizer;
  ThreadPool& pool;
  PreferenceData preferences = {};
  std::optional<engine::ChatFormat> format = {};
  std::optional<TaskData> tasks = {};

  Result<std::unique_ptr<Objective>> by_preferences(RlSummary* summary) {
    GEIST_ASSIGN(const ChatEncoder encoder,
                 ChatEncoder::create(trained.metadata(), tokenizer, o.data.unix_time_s));
    GEIST_ASSIGN(preferences, load_preference_data(o.data, o.folder, encoder,
                                                   trained.model().config().context_length));
    const bool kto = o.preference.kind == PreferenceKind::kKto;
    const auto train = pairs_of(preferences.train, kto);
    const auto held_out = pairs_of(preferences.validation, kto);
    summary->train = static_cast<int64_t>(train.size());
    summary->held_out = static_cast<int64_t>(held_out.size());
    summary->dropped = preferences.dropped;
    GEIST_ASSIGN(auto objective,
                 PreferenceObjective::make(o.preference, reference, train, held_out, pool));
    return std::unique_ptr<Objective>(std::move(objective));
  }

  Result<std::unique_ptr<Objective>> by_rewards() {
    GEIST_ASSIGN(engine::ChatFormat made,
                 engine::ChatFormat::create(trained.metadata(), tokenizer));
    format.emplace(std::move(made));
    const bool checked = o.reward.model.empty() || (o.gold && o.gold->model.empty());
    GEIST_ASSIGN(TaskData data,
                 TaskData::load(o.tasks, o.folder, o.seed, *format, tokenizer, checked));
    tasks.emplace(std::move(data));
    PolicyEnvironment environment;
    environment.tasks = [this](int64_t i) { return tasks->train(i); };
    if (tasks->held_out_count() > 0)
      environment.held_out = [this](int64_t i) { return tasks->held_out(i); };
    GEIST_ASSIGN(environment.reward, make_reward(o.reward, tokenizer, o.tasks.unix_time_s, pool));
    if (o.gold) GEIST_TRY(set_gold(&environment));
    PolicyOptions policy = o.policy;
    policy.held_out = std::min(policy.held_out, tasks->held_out_count());
    GEIST_ASSIGN(auto objective, PolicyObjective::make(policy, trained, reference, tokenizer,
                                                       std::move(environment), pool));
    return std::unique_ptr<Objective>(std::move(objective));
  }

  Status set_gold(PolicyEnvironment* environment) {
    GEIST_ASSIGN(environment->gold, make_reward(*o.gold, tokenizer, o.tasks.unix_time_s, pool));
    return {};
  }
};

}  // namespace

Result<RlSummary> run_rl_stage(const RlOptions& options, ThreadPool& pool, const RlStart& start,
                               const TrainObserver& observer) {
  const std::string path = beside(options.trainer.folder, "model.gguf");
  GEIST_TRY(refuse_overwriting(
      path, {{beside(options.folder, options.from), beside(options.folder, options.reference)}}));
  GEIST_ASSIGN(TrainedModel trained, open_policy(options));
  GEIST_ASSIGN(const TrainedModel reference, open_reference(options, trained));
  GEIST_ASSIGN(const text::Tokenizer tokenizer, model::load_tokenizer(trained.metadata()));
  Stage stage{options, trained, reference, tokenizer, pool};
  RlSummary summary;
  GEIST_ASSIGN(const auto objective,
               options.by_preferences ? stage.by_preferences(&summary) : stage.by_rewards());
  GEIST_ASSIGN(Optimizer optimizer, Optimizer::make(trained, options.trainer.optimizer, pool));
  summary.parameters = trained.parameter_count();
  start(summary, trained.hash());
  GEIST_ASSIGN(summary.result,
               run_training(trained, optimizer, *objective, options.trainer, pool, observer));
  summary.weights_sha256 = trained.hash();
  if (!summary.result.finished) return summary;
  summary.model_path = path;
  GEIST_TRY(save_result(trained, path, optimizer.averaged(), kValueHead));
  return summary;
}

}  // namespace geist::train
