// The rows of one pass of training: sequences side by side, each with positions from 0 and pages of
// its own, so that none can attend to another. A packed row of many documents is as many sequences.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/model.h"
#include "train/attention_backward.h"

namespace geist::train {

// One sequence: all ids but the last are read, each predicts the next.
struct TrainSequence {
  std::span<const text::TokenId> ids;  // at least 2
  // Of the loss on ids[i + 1], one for each prediction; empty: 1 for all. A row of weight 0 goes
  // through the layers but not through the head.
  std::span<const float> weights = {};
  // Of the scalar head's output after ids[i] (scalar_head.h), one for each prediction; empty: 0 for
  // all. With scalar weights and no others, nothing is predicted.
  std::span<const float> scalar_weights = {};
};

class TrainBatch {
 public:
  // Refers to the ids until the next call. Pages are kept from batch to batch.
  void set(const model::Config& config, const model::AdapterSet* adapters,
           std::span<const TrainSequence> sequences);

  std::span<const model::BatchToken> tokens() const { return tokens_; }
  std::span<const SequenceRows> rows() const { return rows_; }
  // Of the tokens with a weight other than 0, in order.
  std::span<const text::TokenId> targets() const { return targets_; }
  std::span<const float> weights() const { return weights_; }
  std::span<const float> scalar_weights() const { return scalar_weights_; }
  bool predicts() const { return predicts_; }  // false: scalar heads alone are read

 private:
  std::shared_ptr<model::Page> page(const model::Config& config);

  std::vector<model::Sequence> sequences_;
  std::vector<std::shared_ptr<model::Page>> pages_;
  size_t pages_used_ = 0;
  std::vector<model::BatchToken> tokens_;
  std::vector<SequenceRows> rows_;
  std::vector<text::TokenId> targets_;
  std::vector<float> weights_, scalar_weights_;
  bool predicts_ = false;
};

}  // namespace geist::train
