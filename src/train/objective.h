// What a run learns and how a step goes, for the loop of trainer.h: rows of text (row_objective.h),
// preferences, rollouts. A step depends on its number, the weights and state() alone, so that a
// resumed run goes on to the same bits.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "train/gradient.h"
#include "train/optimizer.h"

namespace geist::train {

// Names and values for the log, in the order in which they are shown.
using Metrics = std::vector<std::pair<std::string, double>>;

struct StepOutcome {
  double loss = 0;
  int64_t tokens = 0;   // that went through the model
  StepReport update{};  // the last one
  Metrics metrics = {};
  // Not empty: why the run ends here, finished. The step changed nothing and does not count.
  std::string stop = {};
};

struct Validation {
  // Not in the log where they are not given.
  std::optional<double> loss = {};
  double bits_per_byte = std::numeric_limits<double>::quiet_NaN();
  Metrics metrics = {};
};

// Moves the weights by the gradient that the engine holds, and ends its accumulation.
using Update = std::function<Result<StepReport>()>;

class Objective {
 public:
  virtual ~Objective() = default;
  // Before the first step of a process.
  virtual Status begin(GradientEngine&) { return {}; }
  // Accumulates gradients and updates, TrainerOptions::updates_per_step times at most.
  virtual Result<StepOutcome> step(int64_t step, GradientEngine& engine, const Update& update) = 0;
  virtual bool validates() const { return false; }
  virtual Result<Validation> validate(GradientEngine&) { return Validation{}; }
  // What it carries from step to step beside the weights; in checkpoints.
  virtual std::vector<double> state() const { return {}; }
  virtual Status restore(std::span<const double> state) {
    if (state.empty()) return {};
    return errorf("the checkpoint holds state of another objective");
  }
};

}  // namespace geist::train
