// geist train rl: a model learns from preferences or from rewards, as a recipe says.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "cli/command.h"
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
  return run_stage(options, nullptr, train::read_rl_recipe, train::run_rl_stage, start,
                   kNothingLeft);
}

std::function<int()> configure(CLI::App& app) { return configure_stage(app, run); }

}  // namespace

Command train_rl_command() {
  return {"rl", "Learn from preferences (dpo, ipo, kto) or rewards (ppo, grpo, rloo)",
          "geist train rl recipe.toml\ngeist train rl recipe.toml -t 2", configure};
}

}  // namespace geist::cli
