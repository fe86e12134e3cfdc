// geist train reward: rankings of answers become a reward model, as a recipe says.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <string>

#include "base/file.h"
#include "cli/calibration_plot.h"
#include "cli/command.h"
#include "cli/output.h"
#include "cli/train_run.h"
#include "train/reward_stage.h"

namespace geist::cli {
namespace {

void start(const train::RewardSummary& s, const std::string& hash) {
  std::fprintf(stderr,
               "%s parameters, %lld rankings to learn from, %lld held out, %lld left out; weights "
               "%.16s\n",
               human_count(static_cast<double>(s.parameters)).c_str(),
               static_cast<long long>(s.train), static_cast<long long>(s.held_out),
               static_cast<long long>(s.dropped), hash.c_str());
}

Status draw(const train::RewardStageOptions& options, const train::RewardSummary& summary) {
  const train::RewardQuality& q = summary.quality;
  if (q.pairs == 0) return {};
  const std::string path =
      (std::filesystem::path(options.trainer.folder) / "calibration.svg").string();
  std::fprintf(stderr,
               "%lld held-out pairs: accuracy %.3f (by length alone %.3f), margin %.3f, "
               "calibration error %.3f: %s\n",
               static_cast<long long>(q.pairs), q.accuracy, summary.length_baseline, q.margin,
               q.calibration_error, path.c_str());
  return write_file(path, calibration_plot(q));
}

int run(const TrainRunOptions& options) {
  return run_stage(options, nullptr, train::read_reward_recipe, train::run_reward_stage, start,
                   draw);
}

std::function<int()> configure(CLI::App& app) { return configure_stage(app, run); }

}  // namespace

Command train_reward_command() {
  return {"reward", "Train a reward model on ranked answers",
          "geist train reward recipe.toml\n"
          "geist reward runs/reward/model.gguf < conversations.jsonl",
          configure};
}

}  // namespace geist::cli
