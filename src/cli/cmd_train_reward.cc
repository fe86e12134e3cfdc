// geist train reward: rankings of answers become a reward model, as a recipe says.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "base/file.h"
#include "base/thread_pool.h"
#include "cli/calibration_plot.h"
#include "cli/command.h"
#include "cli/interrupt.h"
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

Status draw(const train::RewardSummary& summary, const std::string& folder) {
  const train::RewardQuality& q = summary.quality;
  if (q.pairs == 0) return {};
  const std::string path = (std::filesystem::path(folder) / "calibration.svg").string();
  std::fprintf(stderr,
               "%lld held-out pairs: accuracy %.3f (by length alone %.3f), margin %.3f, "
               "calibration error %.3f: %s\n",
               static_cast<long long>(q.pairs), q.accuracy, summary.length_baseline, q.margin,
               q.calibration_error, path.c_str());
  return write_file(path, calibration_plot(q));
}

int run(const TrainRunOptions& options) {
  const CatchInterrupt catching;  // stops behind a step, with a checkpoint
  auto recipe = train::Recipe::open(options.recipe);
  if (!recipe.ok()) return fail(recipe.error());
  const auto reward = train::read_reward_recipe(*recipe, options.recipe);
  if (!reward.ok()) return fail(reward.error());
  ThreadPool pool(options.threads);
  const auto summary = train::run_reward_stage(
      *reward, pool, start,
      [&](const train::TrainEvent& event) { return observe_training(options, event); });
  if (!summary.ok()) return fail(summary.error());
  if (summary->result.finished)
    if (Status status = draw(*summary, reward->trainer.folder); !status)
      return fail(status.error());
  return finish_training(summary->result, summary->model_path, summary->weights_sha256);
}

std::function<int()> configure(CLI::App& app) {
  auto options = std::make_shared<TrainRunOptions>();
  add_train_run_options(app, options.get());
  return [options] { return run(*options); };
}

}  // namespace

Command train_reward_command() {
  return {"reward", "Train a reward model on ranked answers",
          "geist train reward recipe.toml\n"
          "geist reward runs/reward/model.gguf < conversations.jsonl",
          configure};
}

}  // namespace geist::cli
