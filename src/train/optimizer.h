// Clipping, AdamW or Muon, and the running average of weights. One step is a function of weights,
// gradient, state and the number of the step: the state below and that number are all that a
// checkpoint needs. Orders: docs/training-numerics.md.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/thread_pool.h"
#include "train/muon.h"
#include "train/ranks.h"
#include "train/schedule.h"
#include "train/trained_model.h"

namespace geist::train {

enum class OptimizerKind { kAdamW, kMuon };

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double learning_rate = 1e-3;
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;  // of matrices; norms and biases have none
  double clip = 1.0;          // of the gradient's norm; 0: never
  // Muon takes the matrices between embedding and head, AdamW the rest.
  double muon_learning_rate = 0.02, muon_momentum = 0.95;
  double average = 0;  // of weights: the share that a step keeps; 0: none
  Schedule schedule = {};
};

struct StepReport {
  double gradient_norm = 0;  // before clipping
  double learning_rate = 0;
  bool clipped = false;
};

class Optimizer {
 public:
  static Result<Optimizer> make(const TrainedModel& trained, const OptimizerOptions& options,
                                ThreadPool& pool);

  // The state and the steps are shared out over ranks (ranks.h): step() then takes a gradient whose
  // own parts are summed, and ends with the new weights on all of them. AdamW without an average.
  Status share(Ranks* ranks);
  // All ranks call this: the first one's first() and second() become whole. And back.
  void collect();
  void release();

  // Step 0, 1, ... The gradient is used up. When it is not finite, as gradient_norm then says,
  // nothing is changed.
  Result<StepReport> step(int64_t step, FloatBlock& gradient);

  // State of the weights' layout; second() of a weight that Muon takes stays 0. Without an average
  // averaged() is the weights.
  FloatBlock& first() { return first_; }
  FloatBlock& second() { return second_; }
  bool has_average() const { return options_.average > 0; }
  FloatBlock& averaged() { return average_; }

 private:
  Optimizer(const TrainedModel& trained, const OptimizerOptions& options, ThreadPool& pool)
      : trained_(&trained),
        options_(options),
        pool_(&pool),
        orthogonalizer_(trained.model().kernels(), pool) {}
  // A thread that makes matrices orthogonal on its own.
  struct Loner {
    explicit Loner(const kernels::Kernels& kernels) : orthogonalizer(kernels, pool) {}
    ThreadPool pool{1};
    Orthogonalizer orthogonalizer;
  };
  bool takes_muon(const Parameter& p) const;
  void adam(const Parameter& p, const kernels::AdamStep& step, const float* gradient);
  void muon(double learning_rate, float scale, float* gradient);
  void muon(const Parameter& p, double learning_rate, float scale, float* gradient,
            ThreadPool& pool, Orthogonalizer& orthogonalizer);
  void update_average();
  double gradient_norm(const FloatBlock& gradient);
  // Calls f(begin, end) for what this process has of [0, size) of the block.
  template <typename F>
  void for_own(F&& f) const {
    const int64_t size = first_.size();
    ranks_ != nullptr ? ranks_->for_own(size, f) : f(int64_t{0}, size);
  }

  const TrainedModel* trained_;
  OptimizerOptions options_;
  ThreadPool* pool_;
  Ranks* ranks_ = nullptr;
  Orthogonalizer orthogonalizer_;               // on all threads
  std::vector<std::unique_ptr<Loner>> loners_;  // of Muon; one a thread
  FloatBlock first_, second_, average_;
};

}  // namespace geist::train
