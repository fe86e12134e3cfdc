// geist train sft and lora: a model becomes an assistant, taught by conversations.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "cli/command.h"
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

template <train::SftKind kind>
int run(const TrainRunOptions& options) {
  const auto read = [](const train::Recipe& recipe, const std::string& path) {
    return train::read_sft_recipe(recipe, path, kind);
  };
  return run_stage(options, nullptr, read, train::run_sft_stage, start, kNothingLeft);
}

template <train::SftKind kind>
std::function<int()> configure(CLI::App& app) {
  return configure_stage(app, run<kind>);
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
