#include "train/batch.h"

#include <algorithm>

#include "base/check.h"

namespace geist::train {

std::shared_ptr<model::Page> TrainBatch::page(const model::Config& config) {
  if (pages_used_ == pages_.size()) {
    const model::KvLayout& layout = config.kv_layout(model::KvType::kF32);
    const int64_t layer = kernels::kv_layer_bytes(layout.shape).value_or(0);
    pages_.push_back(std::make_shared<model::Page>());
    pages_.back()->full = model::allocate_part(std::min(layout.full_bytes, layer));
    pages_.back()->window = model::allocate_part(std::min(layout.window_bytes, layer));
  }
  return pages_[pages_used_++];
}

void TrainBatch::set(const model::Config& config, const model::AdapterSet* adapters,
                     std::span<const TrainSequence> sequences) {
  tokens_.clear();
  rows_.clear();
  targets_.clear();
  weights_.clear();
  scalar_weights_.clear();
  predicts_ = false;
  pages_used_ = 0;
  sequences_.assign(sequences.size(), {});
  for (size_t s = 0; s < sequences.size(); ++s) {
    const TrainSequence& in = sequences[s];
    GEIST_CHECK(in.ids.size() >= 2);
    const auto count = static_cast<int32_t>(in.ids.size()) - 1;
    GEIST_CHECK(in.weights.empty() || in.weights.size() == static_cast<size_t>(count));
    GEIST_CHECK(in.scalar_weights.empty() ||
                in.scalar_weights.size() == static_cast<size_t>(count));
    const float otherwise = in.scalar_weights.empty() ? 1.0f : 0.0f;
    predicts_ |= !in.weights.empty() || in.scalar_weights.empty();
    model::Sequence& sequence = sequences_[s];
    sequence.length = count;
    sequence.one_layer = true;
    for (int32_t first = 0; first < count; first += kernels::kPageTokens) {
      sequence.pages.push_back(page(config));
      sequence.pages.back()->first_pos = first;
      sequence.pages.back()->count = std::min(kernels::kPageTokens, count - first);
    }
    rows_.push_back({static_cast<int64_t>(tokens_.size()), count});
    for (int32_t i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(i);
      const float weight = in.weights.empty() ? otherwise : in.weights[at];
      const float scalar = in.scalar_weights.empty() ? 0.0f : in.scalar_weights[at];
      const bool wanted = weight != 0.0f || scalar != 0.0f;
      tokens_.push_back({.id = in.ids[at],
                         .sequence = &sequence,
                         .pos = i,
                         .want_output = wanted,
                         .adapters = adapters});
      if (!wanted) continue;
      targets_.push_back(in.ids[at + 1]);
      weights_.push_back(weight);
      scalar_weights_.push_back(scalar);
    }
  }
}

}  // namespace geist::train
