// The gradient of a model over sequences, and their loss: forward pass by the engine's own blocks,
// backward pass by the tape.
//
// Every element of a gradient is one chain over the tokens of all batches in the order in which
// they came: cutting a batch into several calls changes no bit, nor do threads or instruction sets.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "train/batch.h"
#include "train/gradient_tape.h"
#include "train/loss.h"
#include "train/scalar_head.h"
#include "train/trained_model.h"

namespace geist::train {

// Of the rows that have a weight, in order.
struct RowOutputs {
  std::vector<double> log_probabilities;  // of the targets: the very numbers of a rollout
  std::vector<float> scalars;             // of the scalar head; empty without one
};

class GradientEngine {
 public:
  // An error when the architecture has an operation that cannot be taken back.
  static Result<std::unique_ptr<GradientEngine>> make(const TrainedModel& trained, ThreadPool& pool,
                                                      const ActivationOptions& activations = {});

  // What scalar weights refer to; none: they may not be given.
  Status use_scalar_head(std::string_view tensor);

  // Starts a new gradient.
  void clear();
  // Adds the gradient of `scale` times the weighted loss of these sequences.
  // final_from: see GradientTape::backward; for the last batch of a gradient.
  Result<LossSums> accumulate(std::span<const TrainSequence> sequences, float scale,
                              const FinalFrom& final_from = nullptr);
  // The same in two halves, for losses whose weights depend on what the model says: the weights of
  // the sequences only tell which rows are wanted. Nothing but backward() may come between.
  Status forward(std::span<const TrainSequence> sequences, RowOutputs* outputs);
  Result<LossSums> backward(std::span<const float> weights, std::span<const float> scalar_weights,
                            float scale);
  // The gradient so far, a block of the weights' layout. Ends the accumulation: to be called once,
  // or again without effect.
  FloatBlock& finish();
  // The same block while it grows.
  FloatBlock& unfinished() { return gradient_; }

  const TrainedModel& trained() const { return trained_; }
  ThreadPool& pool() const { return pool_; }

  // The loss alone, and what the rows gave when wanted.
  Result<LossSums> evaluate(std::span<const TrainSequence> sequences,
                            RowOutputs* outputs = nullptr);

 private:
  GradientEngine(const TrainedModel& trained, ThreadPool& pool,
                 const ActivationOptions& activations);
  Status check(std::span<const TrainSequence> sequences) const;
  Status run_forward(std::span<const TrainSequence> sequences);
  LossSums read_rows(RowOutputs* outputs);
  Result<LossSums> take_back(std::span<const float> weights, std::span<const float> scalar_weights,
                             float scale, const FinalFrom& final_from = nullptr);

  const TrainedModel& trained_;
  ThreadPool& pool_;
  GradientTape tape_;
  HeadLoss loss_;
  TrainBatch batch_;
  model::WorkspacePtr workspace_;
  std::vector<float> hidden_, scaled_;
  std::optional<ScalarHead> scalar_head_;
  FloatBlock gradient_;
  // Where the head is also the embedding table: the chains of looked-up rows (gradient_tape.h).
  FloatBlock lookups_;
  int64_t tied_offset_ = -1;
  bool finished_ = false;
};

}  // namespace geist::train
