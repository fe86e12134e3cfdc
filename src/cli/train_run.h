// What the stages of geist train that run a loop share: options, lines of progress, the end.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/job_watch.h"
#include "cli/output.h"
#include "train/recipe.h"
#include "train/trainer.h"

namespace geist::cli {

struct TrainRunOptions {
  std::string recipe;
  int threads = 0;
  int64_t report_every = 10;
};

void add_train_run_options(CLI::App& app, TrainRunOptions* options);

// Shows an event; false after Ctrl-C.
bool observe_training(const TrainRunOptions& options, const train::TrainEvent& event);

// Says why the run fails, and ends all processes of it when there are several (ranks may be null);
// the exit code. What befalls all of them alike is said by the first one.
int give_up(const Error& error, train::Ranks* ranks, train::RunLock* lock = nullptr);

// Says where the run stopped, or prints the path and the hash; the exit code.
int finish_training(const train::TrainResult& result, const std::string& path,
                    const std::string& weights_sha256);

// A stage from its recipe to its result; the exit code. Of several ranks the first one speaks.
//   read(recipe, path) -> Result<options>, with options.trainer
//   run(options, pool, started, observer) -> Result<summary>: result, model_path, weights_sha256
//   start(summary so far, hash): what is known before the first step
//   end(options, summary) -> Status: what is left to do when it has finished
template <typename Read, typename Run, typename Start, typename End>
int run_stage(const TrainRunOptions& options, train::Ranks* ranks, const Read& read, const Run& run,
              const Start& start, const End& end) {
  const CatchInterrupt catching;  // stops behind a step, with a checkpoint
  auto recipe = train::Recipe::open(options.recipe);
  if (!recipe.ok()) return give_up(recipe.error(), ranks);
  auto stage = read(*recipe, options.recipe);
  if (!stage.ok()) return give_up(stage.error(), ranks);
  JobWatch watch;
  stage->trainer.ranks = ranks;
  stage->trainer.lock = &watch.lock();
  const bool speaks = ranks == nullptr || ranks->is_first();
  ThreadPool pool(options.threads);
  const auto started = [&](const auto& so_far, const std::string& hash) {
    if (speaks) start(so_far, hash);
  };
  const auto summary = run(*stage, pool, started, [&](const train::TrainEvent& event) {
    watch.on(event);
    return speaks ? observe_training(options, event) : !interrupted();
  });
  if (!summary.ok()) return give_up(summary.error(), ranks, &watch.lock());
  if (!speaks) return summary->result.finished ? kDone : kInterrupted;
  if (summary->result.finished)
    if (const Status status = end(*stage, *summary); !status.ok())
      return give_up(status.error(), ranks, &watch.lock());
  return finish_training(summary->result, summary->model_path, summary->weights_sha256);
}
inline constexpr auto kNothingLeft = [](const auto&, const auto&) { return Status(); };

// configure() of a stage: its options, then run(options).
template <typename Run>
std::function<int()> configure_stage(CLI::App& app, const Run& run) {
  auto options = std::make_shared<TrainRunOptions>();
  add_train_run_options(app, options.get());
  return [options, run] { return run(*options); };
}

}  // namespace geist::cli
