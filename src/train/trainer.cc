#include "train/trainer.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>

#include "train/checkpoint.h"
#include "train/run_log.h"

namespace geist::train {
namespace {

using Kind = TrainEvent::Kind;
using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

class Run {
 public:
  Run(TrainedModel& trained, Optimizer& optimizer, const TrainSource& source,
      const TrainerOptions& options, ThreadPool& pool, const TrainObserver& observer)
      : trained_(trained),
        optimizer_(optimizer),
        source_(source),
        o_(options),
        pool_(pool),
        observer_(observer),
        checkpoints_((fs::path(options.folder) / "checkpoints").string()),
        steps_(options.optimizer.schedule.steps) {}

  Result<TrainResult> run() {
    GEIST_ASSIGN(engine_, GradientEngine::make(trained_, pool_));
    std::error_code failed;
    fs::create_directories(o_.folder, failed);
    if (failed)
      return errorf("%s: cannot be made: %s", o_.folder.c_str(), failed.message().c_str());
    GEIST_TRY(resume());
    GEIST_ASSIGN(RunLog log, RunLog::open((fs::path(o_.folder) / "log.jsonl").string(), step_));
    log_ = &log;
    begin_ = Clock::now();
    first_step_ = step_;
    while (step_ < steps_ && go_on_) {
      GEIST_TRY(train_step());
      const bool last = step_ == steps_;
      if (last || due(o_.validate_every)) GEIST_TRY(validate());
      if (last || due(o_.checkpoint_every) || !go_on_) GEIST_TRY(checkpoint());
    }
    if (first_step_ == steps_) GEIST_TRY(validate());  // nothing was left to do
    result_.steps = step_;
    result_.finished = step_ == steps_;
    return result_;
  }

 private:
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
      step_ = state->step;
      tell({.kind = Kind::kResumed, .text = path});
      return {};
    }
    return {};
  }

  Status train_step() {
    std::vector<std::vector<TrainSequence>> rows(static_cast<size_t>(o_.batch_rows));
    double weight = 0;
    int64_t tokens = 0;
    for (int64_t i = 0; i < o_.batch_rows; ++i) {
      auto& row = rows[static_cast<size_t>(i)];
      source_.row(step_ * o_.batch_rows + i, &row);
      for (const TrainSequence& s : row) {
        tokens += static_cast<int64_t>(s.ids.size()) - 1;
        for (const float w : s.weights) weight += double{w};
        if (s.weights.empty()) weight += static_cast<double>(s.ids.size() - 1);
      }
    }
    if (weight <= 0)
      return errorf("the batch of step %lld has no token to learn", (long long)step_);
    engine_->clear();
    LossSums sums;
    const auto scale = static_cast<float>(1.0 / weight);
    for (size_t i = 0; i < rows.size(); i += static_cast<size_t>(o_.rows_at_once)) {
      std::vector<TrainSequence> part;
      for (size_t j = i; j < std::min(rows.size(), i + static_cast<size_t>(o_.rows_at_once)); ++j)
        part.insert(part.end(), rows[j].begin(), rows[j].end());
      if (part.empty()) continue;
      GEIST_ASSIGN(const LossSums some, engine_->accumulate(part, scale));
      sums.add(some);
    }
    if (!std::isfinite(sums.weighted))
      return errorf("the loss of step %lld is not a number; the last checkpoint in %s is unharmed",
                    (long long)step_, checkpoints_.c_str());
    GEIST_ASSIGN(const StepReport report, optimizer_.step(step_, engine_->finish()));
    trained_.weights_changed();
    ++step_;
    result_.loss = sums.mean();
    tokens_ += tokens;
    TrainEvent event{.kind = Kind::kStep,
                     .loss = sums.mean(),
                     .gradient_norm = report.gradient_norm,
                     .learning_rate = report.learning_rate,
                     .tokens = tokens};
    const double elapsed = std::chrono::duration<double>(Clock::now() - begin_).count();
    event.tokens_per_s = elapsed > 0 ? static_cast<double>(tokens_) / elapsed : 0;
    event.seconds_left =
        elapsed / static_cast<double>(step_ - first_step_) * static_cast<double>(steps_ - step_);
    tell(event);
    event.step = step_;
    return log_->write(event);
  }

  Status validate() {
    if (source_.validation.empty()) return {};
    LossSums sums;
    for (size_t i = 0; i < source_.validation.size(); i += static_cast<size_t>(o_.rows_at_once)) {
      std::vector<TrainSequence> part;
      const size_t end =
          std::min(source_.validation.size(), i + static_cast<size_t>(o_.rows_at_once));
      for (size_t j = i; j < end; ++j)
        part.insert(part.end(), source_.validation[j].begin(), source_.validation[j].end());
      GEIST_ASSIGN(const LossSums some, engine_->evaluate(part));
      sums.add(some);
    }
    constexpr double kLn2 = 0.6931471805599453;
    result_.validation_loss = sums.mean();
    result_.bits_per_byte =
        source_.validation_bytes > 0 ? sums.weighted / kLn2 / source_.validation_bytes : 0;
    TrainEvent event{.kind = Kind::kValidation,
                     .step = step_,
                     .loss = result_.validation_loss,
                     .bits_per_byte = result_.bits_per_byte};
    tell(event);
    return log_->write(event);
  }

  Status checkpoint() {
    GEIST_TRY(write_checkpoint(checkpoints_, {step_, o_.recipe_hash}, trained_, optimizer_,
                               o_.keep_checkpoints));
    tell({.kind = Kind::kCheckpoint, .text = checkpoint_path(checkpoints_, step_)});
    return {};
  }

  TrainedModel& trained_;
  Optimizer& optimizer_;
  const TrainSource& source_;
  const TrainerOptions& o_;
  ThreadPool& pool_;
  const TrainObserver& observer_;
  std::string checkpoints_;
  int64_t steps_, step_ = 0, first_step_ = 0, tokens_ = 0;
  bool go_on_ = true;
  std::unique_ptr<GradientEngine> engine_;
  RunLog* log_ = nullptr;
  Clock::time_point begin_;
  TrainResult result_;
};

}  // namespace

Result<TrainResult> run_training(TrainedModel& trained, Optimizer& optimizer,
                                 const TrainSource& source, const TrainerOptions& options,
                                 ThreadPool& pool, const TrainObserver& observer) {
  return Run(trained, optimizer, source, options, pool, observer).run();
}

}  // namespace geist::train
