// geist train base: text and a tokenizer become a base model, as a recipe says.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "base/thread_pool.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "train/base_stage.h"

namespace geist::cli {
namespace {

using train::TrainEvent;

struct Options {
  std::string recipe;
  int threads = 0;
  int64_t report_every = 10;
};

void report_step(const TrainEvent& e) {
  std::fprintf(stderr, "step %lld/%lld  loss %.4f  norm %.3f  rate %.2e  %s tokens/s  %s left\n",
               static_cast<long long>(e.step), static_cast<long long>(e.steps), e.loss,
               e.gradient_norm, e.learning_rate, human_count(e.tokens_per_s).c_str(),
               human_seconds(e.seconds_left).c_str());
}

bool observe(const Options& options, const TrainEvent& e) {
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
      std::fprintf(stderr, "step %lld/%lld  validation %.4f nats a token, %.4f bits a byte\n",
                   static_cast<long long>(e.step), static_cast<long long>(e.steps), e.loss,
                   e.bits_per_byte);
      break;
    case TrainEvent::Kind::kCheckpoint:
    case TrainEvent::Kind::kStopped:
      break;
  }
  return !interrupted();
}

int run(const Options& options) {
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
      *base, pool, start, [&](const TrainEvent& event) { return observe(options, event); });
  if (!summary.ok()) return fail(summary.error());
  if (!summary->result.finished) {
    note("stopped after step %lld; the same command goes on from there",
         static_cast<long long>(summary->result.steps));
    return kInterrupted;
  }
  const std::string text =
      summary->model_path + "\nweights_sha256 " + summary->weights_sha256 + "\n";
  if (Status status = write_output(text); !status.ok()) return fail(status.error());
  return kDone;
}

std::function<int()> configure(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("recipe", options->recipe, "recipe.toml")->required();
  app.add_option("-t,--threads", options->threads,
                 "threads; the weights do not depend on it (default: one a processor)")
      ->check(CLI::Range(0, 1024));
  app.add_option("--report-every", options->report_every, "a line for every N steps")
      ->check(CLI::Range(1, 1 << 30));
  return [options] { return run(*options); };
}

}  // namespace

Command train_base_command() {
  return {"base", "Train a base model from text, or go on with one",
          "geist train base recipe.toml\ngeist train base recipe.toml -t 2", configure};
}

}  // namespace geist::cli
