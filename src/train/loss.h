// The head of a model and the cross-entropy of its logits, forwards and backwards at once and a few
// rows at a time: the logits of a whole batch are never in memory together.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/grad_kernels.h"
#include "model/weights.h"
#include "text/tokenizer.h"

namespace geist::train {

struct LossRows {
  float* hidden;  // [count, width], after the final norm
  std::span<const text::TokenId> targets;
  std::span<const float> weights;
};

struct LossSums {
  double weighted = 0;  // sum of weight * -log p(target)
  double weight = 0;    // sum of weights
  int64_t count = 0;    // of targets
  void add(const LossSums& other) {
    weighted += other.weighted;
    weight += other.weight;
    count += other.count;
  }
  double mean() const { return weight > 0 ? weighted / weight : 0; }
};

class HeadLoss {
 public:
  HeadLoss(const kernels::Kernels& kernels, ThreadPool& pool) : k_(kernels), pool_(pool) {}

  // Writes log p(target) of each row into log_probabilities (null: not wanted), by the definition
  // of engine::log_probability: the very numbers of a rollout.
  LossSums forward(const model::Linear& head, const LossRows& rows, double* log_probabilities);

  // The loss and its gradient, each row's weight times `scale`: hidden becomes the gradient of the
  // hidden rows; dweight and dbias (null: frozen, or the head has none) are added to.
  LossSums backward(const model::Linear& head, const LossRows& rows, float scale, float* dweight,
                    float* dbias);

 private:
  int64_t chunk_rows(const model::Linear& head, int64_t count) const;
  void logits(const model::Linear& head, const float* hidden, int64_t count);

  const kernels::Kernels& k_;
  ThreadPool& pool_;
  kernels::Activations activations_;
  std::vector<float> logits_, dhidden_, panel_;
  std::vector<double> log_probabilities_;
};

}  // namespace geist::train
