// The gradient of a model over sequences, and their loss: forward pass by the engine's own blocks,
// backward pass by the tape.
//
// Every element of a gradient is one chain over the tokens of all batches in the order in which
// they came: cutting a batch into several calls changes no bit, nor do threads or instruction sets.
#pragma once

#include <span>
#include <vector>

#include "train/batch.h"
#include "train/gradient_tape.h"
#include "train/loss.h"
#include "train/trained_model.h"

namespace geist::train {

class GradientEngine {
 public:
  // An error when the architecture has an operation that cannot be taken back.
  static Result<std::unique_ptr<GradientEngine>> make(const TrainedModel& trained,
                                                      ThreadPool& pool);

  // Starts a new gradient.
  void clear();
  // Adds the gradient of `scale` times the weighted loss of these sequences.
  Result<LossSums> accumulate(std::span<const TrainSequence> sequences, float scale);
  // The gradient so far, a block of the weights' layout. Ends the accumulation.
  FloatBlock& finish();

  // The loss alone; log-probabilities of all weighted targets, in order, when wanted.
  Result<LossSums> evaluate(std::span<const TrainSequence> sequences,
                            std::vector<double>* log_probabilities = nullptr);

 private:
  GradientEngine(const TrainedModel& trained, ThreadPool& pool);
  Status check(std::span<const TrainSequence> sequences) const;
  Status run_forward(std::span<const TrainSequence> sequences);

  const TrainedModel& trained_;
  ThreadPool& pool_;
  GradientTape tape_;
  HeadLoss loss_;
  TrainBatch batch_;
  model::WorkspacePtr workspace_;
  std::vector<float> hidden_;
  FloatBlock gradient_;
  // Where the head is also the embedding table: the chains of looked-up rows (gradient_tape.h).
  FloatBlock lookups_;
  int64_t tied_offset_ = -1;
};

}  // namespace geist::train
