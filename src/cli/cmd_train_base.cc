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

int train_it(const TrainRunOptions& options, train::Ranks* ranks) {
  const CatchInterrupt catching;  // stops behind a step, with a checkpoint
  auto recipe = train::Recipe::open(options.recipe);
  if (!recipe.ok()) return give_up(recipe.error(), ranks);
  auto base = train::read_base_recipe(*recipe, options.recipe);
  if (!base.ok()) return give_up(base.error(), ranks);
  base->trainer.ranks = ranks;
  const bool speaks = ranks == nullptr || ranks->is_first();
  ThreadPool pool(options.threads);
  const auto start = [&](const train::BaseSummary& s, const std::string& hash) {
    if (!speaks) return;
    if (ranks != nullptr) note("%d processes", ranks->count());
    std::fprintf(stderr, "%s parameters, %s tokens to train on, %s to validate on; weights %.16s\n",
                 human_count(static_cast<double>(s.parameters)).c_str(),
                 human_count(static_cast<double>(s.train_tokens)).c_str(),
                 human_count(static_cast<double>(s.validation_tokens)).c_str(), hash.c_str());
  };
  const auto summary =
      train::run_base_stage(*base, pool, start, [&](const train::TrainEvent& event) {
        return speaks ? observe_training(options, event) : !interrupted();
      });
  if (!summary.ok()) return give_up(summary.error(), ranks);
  if (!speaks) return summary->result.finished ? kDone : kInterrupted;
  return finish_training(summary->result, summary->model_path, summary->weights_sha256);
}

int run(const TrainRunOptions& options) {
  auto ranks = train::Ranks::join();
  if (!ranks.ok()) return fail(ranks.error());
  const int code = train_it(options, ranks->get());
  if (*ranks != nullptr) (*ranks)->leave();
  return code;
}

std::function<int()> configure(CLI::App& app) {
  auto options = std::make_shared<TrainRunOptions>();
  add_train_run_options(app, options.get());
  return [options] { return run(*options); };
}

}  // namespace

Command train_base_command() {
  return {"base", "Train a base model from text, or go on with one",
          "geist train base recipe.toml\ngeist train base recipe.toml -t 2\nmpirun -n 4 geist "
          "train base recipe.toml",
          configure};
}

}  // namespace geist::cli
