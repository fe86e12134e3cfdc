// geist train base: text and a tokenizer become a base model, as a recipe says.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/train_run.h"
#include "train/base_stage.h"

namespace geist::cli {
namespace {

void start(const train::BaseSummary& s, const std::string& hash) {
  std::fprintf(stderr, "%s parameters, %s tokens to train on, %s to validate on; weights %.16s\n",
               human_count(static_cast<double>(s.parameters)).c_str(),
               human_count(static_cast<double>(s.train_tokens)).c_str(),
               human_count(static_cast<double>(s.validation_tokens)).c_str(), hash.c_str());
}

int run(const TrainRunOptions& options) {
  auto ranks = train::Ranks::join();
  if (!ranks.ok()) return fail(ranks.error());
  if (*ranks != nullptr && (*ranks)->is_first()) note("%d processes", (*ranks)->count());
  const int code = run_stage(options, ranks->get(), train::read_base_recipe, train::run_base_stage,
                             start, kNothingLeft);
  if (*ranks != nullptr) (*ranks)->leave();
  return code;
}

std::function<int()> configure(CLI::App& app) { return configure_stage(app, run); }

}  // namespace

Command train_base_command() {
  return {"base", "Train a base model from text, or go on with one",
          "geist train base recipe.toml\ngeist train base recipe.toml -t 2\nmpirun -n 4 geist "
          "train base recipe.toml",
          configure};
}

}  // namespace geist::cli
