// geist train base: text and a tokenizer become a base model, as a recipe says.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/train_run.h"
#include "train/base_stage.h"

namespace geist::cli {
namespace {

int run(const TrainRunOptions& options) {
  const CatchInterrupt catching;  // stops behind a step, with a checkpoint
  auto recipe = train::Recipe::open(options.recipe);
  if (!recipe.ok()) return fail(recipe.error());
  const auto base = train::read_base_recipe(*recipe, options.recipe);
  if (!base.ok()) return fail(base.error());
  ThreadPool pool(options.threads);
  const auto start = [](const train::BaseSummary& s, const std::string& hash) {
    std::fprintf(stderr, "%s parameters, %s tokens to train on, %s to validate on; weights %.16s\n",
                 human_count(static_cast<double>(s.parameters)).c_str(),
                 human_count(static_cast<double>(s.train_tokens)).c_str(),
                 human_count(static_cast<double>(s.validation_tokens)).c_str(), hash.c_str());
  };
  const auto summary = train::run_base_stage(
      *base, pool, start,
      [&](const train::TrainEvent& event) { return observe_training(options, event); });
  if (!summary.ok()) return fail(summary.error());
  return finish_training(summary->result, summary->model_path, summary->weights_sha256);
}

std::function<int()> configure(CLI::App& app) {
  auto options = std::make_shared<TrainRunOptions>();
  add_train_run_options(app, options.get());
  return [options] { return run(*options); };
}

}  // namespace

Command train_base_command() {
  return {"base", "Train a base model from text, or go on with one",
          "geist train base recipe.toml\ngeist train base recipe.toml -t 2", configure};
}

}  // namespace geist::cli
