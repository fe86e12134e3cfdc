// geist train sft and lora: a model becomes an assistant, taught by conversations.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/train_run.h"
#include "train/sft_stage.h"

namespace geist::cli {
namespace {

void start(const train::SftSummary& s, const std::string& hash) {
  std::fprintf(stderr,
               "%s parameters to train, %lld conversations, %s assistant tokens to learn, %s to "
               "validate on, %lld steps an epoch; weights %.16s\n",
               human_count(static_cast<double>(s.parameters)).c_str(),
               static_cast<long long>(s.conversations),
               human_count(static_cast<double>(s.learned_tokens)).c_str(),
               human_count(static_cast<double>(s.validation_tokens)).c_str(),
               static_cast<long long>(s.epoch_steps), hash.c_str());
  if (s.dropped + s.truncated > 0)
    note("longer than a row (train.context): %lld sequences left out, %lld cut",
         static_cast<long long>(s.dropped), static_cast<long long>(s.truncated));
}

int run(const TrainRunOptions& options, train::SftKind kind) {
  const CatchInterrupt catching;  // stops behind a step, with a checkpoint
  auto recipe = train::Recipe::open(options.recipe);
  if (!recipe.ok()) return fail(recipe.error());
  const auto sft = train::read_sft_recipe(*recipe, options.recipe, kind);
  if (!sft.ok()) return fail(sft.error());
  ThreadPool pool(options.threads);
  const auto summary = train::run_sft_stage(*sft, pool, start, [&](const train::TrainEvent& event) {
    return observe_training(options, event);
  });
  if (!summary.ok()) return fail(summary.error());
  return finish_training(summary->result, summary->path, summary->weights_sha256);
}

template <train::SftKind kind>
std::function<int()> configure(CLI::App& app) {
  auto options = std::make_shared<TrainRunOptions>();
  add_train_run_options(app, options.get());
  return [options] { return run(*options, kind); };
}

}  // namespace

Command train_sft_command() {
  return {"sft", "Fine-tune all weights of a model on conversations",
          "geist train sft recipe.toml\ngeist train sft recipe.toml -t 2",
          configure<train::SftKind::kAllWeights>};
}

Command train_lora_command() {
  return {
      "lora", "Train an adapter on conversations, beside a base of any type",
      "geist train lora recipe.toml\ngeist run base.gguf --lora runs/chat/adapter.gguf -p Hello",
      configure<train::SftKind::kAdapter>};
}

}  // namespace geist::cli
