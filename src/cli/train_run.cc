#include "cli/train_run.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <thread>

namespace geist::cli {

using train::TrainEvent;

namespace {

// Names and values of an objective, in a line below.
void report_metrics(const train::Metrics& metrics) {
  std::string line;
  for (const auto& [name, value] : metrics) {
    char text[96];
    std::snprintf(text, sizeof text, "  %s %.4g", name.c_str(), value);
    line += text;
  }
  if (!line.empty()) std::fprintf(stderr, "   %s\n", line.c_str());
}

void report_step(const TrainEvent& e) {
  std::fprintf(stderr, "step %lld/%lld  loss %.4f  norm %.3f  rate %.2e  %s tokens/s  %s left\n",
               static_cast<long long>(e.step), static_cast<long long>(e.steps), e.loss,
               e.gradient_norm, e.learning_rate, human_count(e.tokens_per_s).c_str(),
               human_seconds(e.seconds_left).c_str());
  report_metrics(e.metrics);
}

void report_validation(const TrainEvent& e) {
  std::fprintf(stderr, "step %lld/%lld  validation", static_cast<long long>(e.step),
               static_cast<long long>(e.steps));
  if (!std::isnan(e.bits_per_byte)) {
    std::fprintf(stderr, " %.4f nats a token, %.4f bits a byte\n", e.loss, e.bits_per_byte);
  } else {
    if (!std::isnan(e.loss)) std::fprintf(stderr, " loss %.4f", e.loss);
    std::fprintf(stderr, "\n");
  }
  report_metrics(e.metrics);
}

}  // namespace

bool observe_training(const TrainRunOptions& options, const TrainEvent& e) {
  switch (e.kind) {
    case TrainEvent::Kind::kResumed:
      note("going on from step %lld (%s)", static_cast<long long>(e.step), e.text.c_str());
      break;
    case TrainEvent::Kind::kSkippedCheckpoint:
      note("%s; trying the one before", e.text.c_str());
      break;
    case TrainEvent::Kind::kStep:
      if (e.step % options.report_every == 0 || e.step == 1 || e.step == e.steps) report_step(e);
      break;
    case TrainEvent::Kind::kValidation:
      report_validation(e);
      break;
    case TrainEvent::Kind::kCheckpoint:
    case TrainEvent::Kind::kFacts:
      break;
    case TrainEvent::Kind::kStopped:
      note("ended before step %lld: %s", static_cast<long long>(e.step + 1), e.text.c_str());
      report_metrics(e.metrics);
      break;
  }
  return !interrupted();
}

int give_up(const Error& error, train::Ranks* ranks, train::RunLock* lock) {
  if (ranks == nullptr) return fail(error);
  if (ranks->is_first()) {
    fail(error);
  } else {
    std::this_thread::sleep_for(std::chrono::seconds(1));  // the first one may end us
    fail({"process " + std::to_string(ranks->rank()) + ": " + error.message});
  }
  std::fflush(nullptr);
  if (lock != nullptr) lock->close();
  ranks->abort(kFailed);
  return kFailed;
}

int finish_training(const train::TrainResult& result, const std::string& path,
                    const std::string& weights_sha256) {
  if (!result.finished) {
    note("stopped after step %lld; the same command goes on from there",
         static_cast<long long>(result.steps));
    return kInterrupted;
  }
  const Status status = write_output(path + "\nweights_sha256 " + weights_sha256 + "\n");
  return status.ok() ? kDone : fail(status.error());
}

void add_train_run_options(CLI::App& app, TrainRunOptions* options) {
  app.add_option("recipe", options->recipe, "recipe.toml")->required();
  app.add_option("-t,--threads", options->threads,
                 "threads; the weights do not depend on it (default: one a processor)")
      ->check(CLI::Range(0, 1024));
  app.add_option("--report-every", options->report_every, "a line for every N steps")
      ->check(CLI::Range(1, 1 << 30));
}

}  // namespace geist::cli
