// Checkpoints: GGUF files that hold a model under its own names, so that any of them runs, and
// beside it the optimiser's state and where the run stood. Written atomically, with a SHA-256 of
// everything that a resumed run reads; the newest few are kept.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "train/optimizer.h"
#include "train/trained_model.h"

namespace geist::train {

struct CheckpointState {
  int64_t step = 0;                    // steps done
  std::string recipe_hash;             // a run resumes under its own recipe only
  std::vector<double> objective = {};  // Objective::state()
};

// folder/step-00000100.gguf
std::string checkpoint_path(const std::string& folder, int64_t step);

// The first tensor or part of the optimiser's state that holds a NaN or an infinity; empty when
// none does.
std::string not_finite_in(const TrainedModel& trained, Optimizer& optimizer);

// Writes the checkpoint of state.step, then removes those before it but the newest `keep` - 1. What
// claims to be of a later step stays: a resumed run has passed over it as damaged.
Status write_checkpoint(const std::string& folder, const CheckpointState& state,
                        const TrainedModel& trained, Optimizer& optimizer, int keep);

// Reads weights and state into place. Nothing is changed on an error.
Result<CheckpointState> read_checkpoint(const std::string& path, TrainedModel& trained,
                                        Optimizer& optimizer);

// Of the folder, newest first; empty when there is no folder.
std::vector<std::string> list_checkpoints(const std::string& folder);

}  // namespace geist::train
