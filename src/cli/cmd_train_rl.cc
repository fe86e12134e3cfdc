// geist train rl: a model learns from preferences or from rewards, as a recipe says.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/train_run.h"
#include "train/rl_stage.h"

namespace geist::cli {
namespace {

void start(const train::RlSummary& s, const std::string& hash) {
  std::fprintf(stderr, "%s parameters; weights %.16s\n",
               human_count(static_cast<double>(s.parameters)).c_str(), hash.c_str());
  if (s.train > 0)
    std::fprintf(stderr, "%lld pairs or answers to learn from, %lld held out, %lld left out\n",
                 static_cast<long long>(s.train), static_cast<long long>(s.held_out),
                 static_cast<long long>(s.dropped));
}

int run(const TrainRunOptions& options) {
  const CatchInterrupt catching;  // stops behind a step, with a checkpoint
  auto recipe = train::Recipe::open(options.recipe);
  if (!recipe.ok()) return fail(recipe.error());
  const auto rl = train::read_rl_recipe(*recipe, options.recipe);
  if (!rl.ok()) return fail(rl.error());
  ThreadPool pool(options.threads);
  const auto summary = train::run_rl_stage(*rl, pool, start, [&](const train::TrainEvent& event) {
    return observe_training(options, event);
  });
  if (!summary.ok()) return fail(summary.error());
  return finish_training(summary->result, summary->model_path, summary->weights_sha256);
}

std::function<int()> configure(CLI::App& app) {
  auto options = std::make_shared<TrainRunOptions>();
  add_train_run_options(app, options.get());
  return [options] { return run(*options); };
}

}  // namespace

Command train_rl_command() {
  return {"rl", "Learn from preferences (dpo, ipo, kto) or rewards (ppo, grpo, rloo)",
          "geist train rl recipe.toml\ngeist train rl recipe.toml -t 2", configure};
}

}  // namespace geist::cli
