#include "train/batch.h"

#include <algorithm>

#include "base/check.h"

namespace geist::train {

std::shared_ptr<model::Page> TrainBatch::page(const model::Config& config) {
  if (pages_used_ == pages_.size()) {
    const model::KvLayout& layout = config.kv_layout(model::KvType::kF32);
    pages_.push_back(std::make_shared<model::Page>());
    pages_.back()->full = model::allocate_part(layout.full_bytes);
    pages_.back()->window = model::allocate_part(layout.window_bytes);
  }
  return pages_[pages_used_++];
}

void TrainBatch::set(const model::Config& config, std::span<const TrainSequence> sequences) {
  tokens_.clear();
  rows_.clear();
  targets_.clear();
  weights_.clear();
  pages_used_ = 0;
  sequences_.assign(sequences.size(), {});
  for (size_t s = 0; s < sequences.size(); ++s) {
    const TrainSequence& in = sequences[s];
    GEIST_CHECK(in.ids.size() >= 2);
    const auto count = static_cast<int32_t>(in.ids.size()) - 1;
    GEIST_CHECK(in.weights.empty() || in.weights.size() == static_cast<size_t>(count));
    model::Sequence& sequence = sequences_[s];
    sequence.length = count;
    for (int32_t first = 0; first < count; first += kernels::kPageTokens) {
      sequence.pages.push_back(page(config));
      sequence.pages.back()->first_pos = first;
      sequence.pages.back()->count = std::min(kernels::kPageTokens, count - first);
    }
    rows_.push_back({static_cast<int64_t>(tokens_.size()), count});
    for (int32_t i = 0; i < count; ++i) {
      const float weight = in.weights.empty() ? 1.0f : in.weights[static_cast<size_t>(i)];
      tokens_.push_back({.id = in.ids[static_cast<size_t>(i)],
                         .sequence = &sequence,
                         .pos = i,
                         .want_output = weight != 0.0f});
      if (weight == 0.0f) continue;
      targets_.push_back(in.ids[static_cast<size_t>(i) + 1]);
      weights_.push_back(weight);
    }
  }
}

}  // namespace geist::train
