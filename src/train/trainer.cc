#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>

#include "base/check.h"
#include "train/checkpoint.h"
#include "train/run_lock.h"
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
    GEIST_ASSIGN(engine_, GradientEngine::make(trained_, pool_, o_.activations));
    GEIST_TRY(objective_.begin(*engine_));
    GEIST_TRY(optimizer_.share(o_.ranks));
    std::error_code failed;
    fs::create_directories(o_.folder, failed);
    if (failed)
      return errorf("%s: cannot be made: %s", o_.folder.c_str(), failed.message().c_str());
    const int rank = o_.ranks != nullptr ? o_.ranks->rank() : 0;
    GEIST_TRY((o_.lock != nullptr ? o_.lock : &own_lock_)
                  ->take(o_.folder, rank, o_.ranks != nullptr ? o_.ranks->count() : 1));
    if (is_first()) remove_partial_files();
    GEIST_TRY(resume());
    GEIST_TRY(agree_on_step());
    if (step_ == 0) GEIST_TRY(check_first_weights());
    std::optional<RunLog> log;
    if (is_first()) {
      GEIST_ASSIGN(log, kept(RunLog::open((fs::path(o_.folder) / "log.jsonl").string(), step_)));
      log_ = &*log;
      if (step_ == 0 && !o_.facts.empty())
        GEIST_TRY(kept(log->write({.kind = Kind::kFacts, .metrics = o_.facts})));
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
      step_ = checkpoint_step_ = state->step;
      learned_ = step_ > 0;
      tell({.kind = Kind::kResumed, .text = path});
      return {};
    }
    return {};
  }

  // Of processes that were killed; the lock says that nobody writes them any more.
  void remove_partial_files() const {
    for (const std::string& folder : {o_.folder, checkpoints_}) {
      std::error_code failed;
      for (const auto& entry : fs::directory_iterator(folder, failed)) {
        std::error_code ignored;
        if (entry.path().filename().string().find(".tmp.") != std::string::npos)  // AtomicFile's
          fs::remove(entry.path(), ignored);
      }
    }
  }

  Status check_first_weights() {
    const std::string bad = not_finite_in(trained_, optimizer_);
    if (bad.empty()) return {};
    return errorf("the model to train from has a NaN or an infinity in '%s': give another model",
                  bad.c_str());
  }

  // A fault of the disk, with what is left of the run.
  template <typename T>
  T kept(T result) const {
    if (result.ok()) return result;
    const std::string then =
        checkpoint_step_ > 0
            ? "; checkpoint " + std::to_string(checkpoint_step_) +
                  " is kept: the same command goes on from it when this is mended"
            : "; there is no checkpoint yet: the same command begins again when this is mended";
    return errorf("%s%s", result.error().message.c_str(), then.c_str());
  }

  // Arithmetic that has left the numbers. Nothing of it has been written.
  Error diverged(int64_t step, const std::string& what) const {
    const std::string found =
        "step " + std::to_string(step) + ": " + what + " is not a finite number";
    if (!learned_)
      return errorf("%s before anything was learned: look at the model and at the data",
                    found.c_str());
    if (checkpoint_step_ == 0)
      return errorf(
          "%s, and there is no checkpoint yet: lower optimizer.learning_rate and begin "
          "again",
          found.c_str());
    return errorf(
        "%s; checkpoint %lld is kept (%s): lower optimizer.learning_rate and give the recipe "
        "another 'out'",
        found.c_str(), static_cast<long long>(checkpoint_step_),
        checkpoint_path(checkpoints_, checkpoint_step_).c_str());
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
      if (!std::isfinite(report.gradient_norm))
        return diverged(step_ + 1, "the norm of the gradient");
      learned_ = true;
      trained_.weights_changed();
      return report;
    };
    GEIST_ASSIGN(StepOutcome outcome, objective_.step(step_, *engine_, update));
    if (!outcome.stop.empty()) return stop(std::move(outcome));
    if (!std::isfinite(outcome.loss)) return diverged(step_ + 1, "the loss");
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
    if (validation.loss && !std::isfinite(*validation.loss))
      return diverged(step_, "the validation loss");
    const double loss = validation.loss.value_or(std::numeric_limits<double>::quiet_NaN());
    result_.validation_loss = loss;
    result_.bits_per_byte = validation.bits_per_byte;
    result_.validation = validation.metrics;
    return report({.kind = Kind::kValidation,
                   .loss = loss,
                   .bits_per_byte = validation.bits_per_byte,
                   .metrics = std::move(validation.metrics)});
  }

  // To the observer and into the log.
  Status report(TrainEvent event) {
    event.step = step_;
    tell(event);
    return log_ != nullptr ? kept(log_->write(event)) : Status();
  }

  Status checkpoint() {
    optimizer_.collect();
    if (is_first()) {
      const std::string bad = not_finite_in(trained_, optimizer_);
      if (!bad.empty()) return diverged(step_, "a number in '" + bad + "'");
      GEIST_TRY(kept(write_checkpoint(checkpoints_, {step_, o_.recipe_hash, objective_.state()},
                                      trained_, optimizer_, o_.keep_checkpoints)));
    }
    optimizer_.release();
    checkpoint_step_ = step_;
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
  int64_t checkpoint_step_ = 0;  // of the newest one that is whole; 0: none
  RunLock own_lock_;
  bool go_on_ = true, all_go_on_ = true, learned_ = false;
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
