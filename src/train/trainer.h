// The loop of training: steps, validation, log, checkpoints, resuming. A stage says what to learn
// (Objective; for rows of tokens a TrainSource) and what to start with; this runs it.
// A fault of the world ends it with one line that says what to do and which checkpoint is kept; a
// NaN or an infinity never reaches a checkpoint.
//
// The weights after step n depend on the model, the objective and the options alone: not on
// threads, instruction set, how many rows are computed at once, or whether the run was stopped and
// resumed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "train/objective.h"
#include "train/optimizer.h"
#include "train/row_objective.h"
#include "train/run_lock.h"

namespace geist::train {

struct TrainerOptions {
  OptimizerOptions optimizer;  // its schedule has the number of updates
  int64_t updates_per_step = 1;
  int64_t batch_rows = 8;    // of a step
  int64_t rows_at_once = 8;  // of a pass: less memory, the same bits
  int64_t leaf_rows = 0;     // of a leaf of the gradient's tree (step_gradient.h); 0: all
  ActivationOptions activations = {};
  Ranks* ranks = nullptr;   // that share the work; their objective must know of them
  RunLock* lock = nullptr;  // for a caller that looks at it; the run takes it, or one of its own
  int64_t validate_every = 0, checkpoint_every = 0;  // steps; 0: only at the end
  bool validate_first = false;                       // before the first step, too
  int keep_checkpoints = 2;
  std::string folder;       // log.jsonl and checkpoints/
  std::string recipe_hash;  // what a checkpoint must have been made by
  Metrics facts = {};       // of the data, for the log's first line: whole numbers
};

struct TrainEvent {
  enum class Kind {
    kResumed,
    kSkippedCheckpoint,
    kFacts,
    kStep,
    kValidation,
    kCheckpoint,
    kStopped
  } kind;
  int64_t step = 0, steps = 0;  // done, of all
  double loss = 0;              // nats a token: of the step, or of validation
  double bits_per_byte = 0;     // of validation
  double gradient_norm = 0, learning_rate = 0;
  double tokens_per_s = 0, seconds_left = 0;
  int64_t tokens = 0;     // of this step
  Metrics metrics = {};   // of the objective
  std::string text = {};  // a path or a reason
};

struct TrainResult {
  int64_t steps = 0;
  bool finished = false;     // false: stopped by the observer, after a checkpoint
  std::string stopped = {};  // why the objective ended the run before its last step
  double loss = 0;           // of the last step of this process
  double validation_loss = 0, bits_per_byte = 0;
  Metrics validation = {};
};

// The observer is told everything and returns false to stop. Wall time is shown and never decides.
using TrainObserver = std::function<bool(const TrainEvent&)>;

Result<TrainResult> run_training(TrainedModel& trained, Optimizer& optimizer, Objective& objective,
                                 const TrainerOptions& options, ThreadPool& pool,
                                 const TrainObserver& observer);
Result<TrainResult> run_training(TrainedModel& trained, Optimizer& optimizer,
                                 const TrainSource& source, const TrainerOptions& options,
                                 ThreadPool& pool, const TrainObserver& observer);

}  // namespace geist::train
