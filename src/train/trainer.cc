#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>

#include "base/check.h"
#include "train/checkpoint.h"
#include "train/run_log.h"

namespace geist::train {
namespace {

using Kind = TrainEvent::Kind;
using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

class Run {
 public:
  Run(TrainedModel& trained, Optimizer& optimizer, Objective& objective,
      const TrainerOptions& options, ThreadPool& pool, const TrainObserver& observer)
      : trained_(trained),
        optimizer_(optimizer),
        objective_(objective),
        o_(options),
        pool_(pool),
        observer_(observer),
        checkpoints_((fs::path(options.folder) / "checkpoints").string()),
        steps_(options.optimizer.schedule.steps / options.updates_per_step) {}

  Result<TrainResult> run() {
    GEIST_ASSIGN(engine_, GradientEngine::make(trained_, pool_));
    GEIST_TRY(objective_.begin(*engine_));
    GEIST_TRY(optimizer_.share(o_.ranks));
    std::error_code failed;
    fs::create_directories(o_.folder, failed);
    if (failed)
      return errorf("%s: cannot be made: %s", o_.folder.c_str(), failed.message().c_str());
    GEIST_TRY(resume());
    GEIST_TRY(agree_on_step());
    std::optional<RunLog> log;
    if (is_first()) {
      GEIST_ASSIGN(log, RunLog::open((fs::path(o_.folder) / "log.jsonl").string(), step_));
      log_ = &*log;
      if (step_ == 0 && !o_.facts.empty())
        GEIST_TRY(log->write({.kind = Kind::kFacts, .metrics = o_.facts}));
    }
    begin_ = Clock::now();
    first_step_ = step_;
    if (step_ == 0 && o_.validate_first) GEIST_TRY(validate());
    while (step_ < steps_ && goes_on() && result_.stopped.empty()) {
      GEIST_TRY(train_step());
      agree_to_go_on();
      const bool last = step_ == steps_ || !result_.stopped.empty();
      if (last || due(o_.validate_every)) GEIST_TRY(validate());
      if (last || due(o_.checkpoint_every) || !goes_on()) GEIST_TRY(checkpoint());
    }
    if (first_step_ == steps_) GEIST_TRY(validate());  // nothing was left to do
    result_.steps = step_;
    result_.finished = step_ == steps_ || !result_.stopped.empty();
    return result_;
  }

 private:
  bool is_first() const { return o_.ranks == nullptr || o_.ranks->is_first(); }
  bool due(int64_t every) const { return every > 0 && step_ % every == 0; }
  void tell(TrainEvent event) {
    event.step = step_;
    event.steps = steps_;
    go_on_ &= observer_(event);
  }

  // The newest checkpoint that is whole.
  Status resume() {
    for (const std::string& path : list_checkpoints(checkpoints_)) {
      auto state = read_checkpoint(path, trained_, optimizer_);
      if (!state.ok()) {
        tell({.kind = Kind::kSkippedCheckpoint, .text = state.error().message});
        continue;
      }
      if (state->recipe_hash != o_.recipe_hash)
        return errorf(
            "%s: made by another recipe; a run goes on only as it began: give the recipe another "
            "'out', or remove the folder",
            path.c_str());
      GEIST_TRY(objective_.restore(state->objective));
      step_ = state->step;
      tell({.kind = Kind::kResumed, .text = path});
      return {};
    }
    return {};
  }

  // Ranks that read different checkpoints would go on to nonsense.
  Status agree_on_step() {
    optimizer_.release();
    if (o_.ranks == nullptr) return {};
    std::vector<double> steps(static_cast<size_t>(o_.ranks->count()));
    steps[static_cast<size_t>(o_.ranks->rank())] = static_cast<double>(step_);
    o_.ranks->add(steps);
    for (const double step : steps)
      if (step != static_cast<double>(step_))
        return errorf(
            "processes found different checkpoints in %s: it must be on a file system "
            "that all of them share",
            checkpoints_.c_str());
    return {};
  }

  // One that is asked to stop stops all, behind the same step.
  void agree_to_go_on() {
    if (o_.ranks == nullptr) return;
    double stops[] = {go_on_ ? 0.0 : 1.0};
    o_.ranks->add(stops);
    all_go_on_ = stops[0] == 0;
  }
  bool goes_on() const { return o_.ranks != nullptr ? all_go_on_ : go_on_; }

  Status train_step() {
    int64_t updates = 0;
    const Update update = [&]() -> Result<StepReport> {
      GEIST_CHECK(updates < o_.updates_per_step);
      GEIST_ASSIGN(const StepReport report,
                   optimizer_.step(step_ * o_.updates_per_step + updates++, engine_->finish()));
      trained_.weights_changed();
      return report;
    };
    GEIST_ASSIGN(StepOutcome outcome, objective_.step(step_, *engine_, update));
    if (!outcome.stop.empty()) return stop(std::move(outcome));
    if (!std::isfinite(outcome.loss))
      return errorf("the loss of step %lld is not a number; the last checkpoint in %s is unharmed",
                    (long long)step_, checkpoints_.c_str());
    ++step_;
    result_.loss = outcome.loss;
    tokens_ += outcome.tokens;
    TrainEvent event{.kind = Kind::kStep,
                     .loss = outcome.loss,
                     .gradient_norm = outcome.update.gradient_norm,
                     .learning_rate = outcome.update.learning_rate,
                     .tokens = outcome.tokens,
                     .metrics = std::move(outcome.metrics)};
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin_).count();
    event.tokens_per_s = elapsed > 0 ? static_cast<double>(tokens_) / elapsed : 0;
    event.seconds_left =
        elapsed / static_cast<double>(step_ - first_step_) * static_cast<double>(steps_ - step_);
    return report(event);
  }

  Status stop(StepOutcome outcome) {
    result_.stopped = outcome.stop;
    return report({.kind = Kind::kStopped,
                   .metrics = std::move(outcome.metrics),
                   .text = std::move(outcome.stop)});
  }

  Status validate() {
    if (!objective_.validates()) return {};
    GEIST_ASSIGN(Validation validation, objective_.validate(*engine_));
    result_.validation_loss = validation.loss;
    result_.bits_per_byte = validation.bits_per_byte;
    result_.validation = validation.metrics;
    return report({.kind = Kind::kValidation,
                   .loss = validation.loss,
                   .bits_per_byte = validation.bits_per_byte,
                   .metrics = std::move(validation.metrics)});
  }

  // To the observer and into the log.
  Status report(TrainEvent event) {
    event.step = step_;
    tell(event);
    return log_ != nullptr ? log_->write(event) : Status();
  }

  Status checkpoint() {
    optimizer_.collect();
    if (is_first())
      GEIST_TRY(write_checkpoint(checkpoints_, {step_, o_.recipe_hash, objective_.state()},
                                 trained_, optimizer_, o_.keep_checkpoints));
    optimizer_.release();
    tell({.kind = Kind::kCheckpoint, .text = checkpoint_path(checkpoints_, step_)});
    return {};
  }

  TrainedModel& trained_;
  Optimizer& optimizer_;
  Objective& objective_;
  const TrainerOptions& o_;
  ThreadPool& pool_;
  const TrainObserver& observer_;
  std::string checkpoints_;
  int64_t steps_, step_ = 0, first_step_ = 0, tokens_ = 0;
  bool go_on_ = true, all_go_on_ = true;
  std::unique_ptr<GradientEngine> engine_;
  RunLog* log_ = nullptr;
  Clock::time_point begin_;
  TrainResult result_;
};

}  // namespace

Result<TrainResult> run_training(TrainedModel& trained, Optimizer& optimizer, Objective& objective,
                                 const TrainerOptions& options, ThreadPool& pool,
                                 const TrainObserver& observer) {
  return Run(trained, optimizer, objective, options, pool, observer).run();
}

Result<TrainResult> run_training(TrainedModel& trained, Optimizer& optimizer,
                                 const TrainSource& source, const TrainerOptions& options,
                                 ThreadPool& pool, const TrainObserver& observer) {
  RowObjective objective(source, {options.batch_rows, options.rows_at_once, options.leaf_rows},
                         options.ranks);
  return run_training(trained, optimizer, objective, options, pool, observer);
}

}  // namespace geist::train
