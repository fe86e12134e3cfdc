// What the stages of geist train that run a loop share: options, lines of progress, the end.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

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
int give_up(const Error& error, train::Ranks* ranks);

// Says where the run stopped, or prints the path and the hash; the exit code.
int finish_training(const train::TrainResult& result, const std::string& path,
                    const std::string& weights_sha256);

}  // namespace geist::cli
