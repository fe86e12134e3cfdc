#include "train/gradient.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace geist::train {

GradientEngine::GradientEngine(const TrainedModel& trained, ThreadPool& pool,
                               const ActivationOptions& activations)
    : trained_(trained),
      pool_(pool),
      tape_(trained, activations, pool),
      loss_(trained.model().kernels(), pool),
      workspace_(model::Model::make_workspace()) {}

Result<std::unique_ptr<GradientEngine>> GradientEngine::make(const TrainedModel& trained,
                                                             ThreadPool& pool,
                                                             const ActivationOptions& activations) {
  std::unique_ptr<GradientEngine> engine(new GradientEngine(trained, pool, activations));
  // One token through the model tells whether the tape knows every operation, and what is tied.
  const text::TokenId ids[] = {0, 0};
  const TrainSequence probe{ids};
  GEIST_TRY(engine->run_forward({&probe, 1}));
  GEIST_ASSIGN(engine->gradient_, FloatBlock::make(trained.weights().size()));
  const int64_t head = trained.offset_of(engine->tape_.head()->w);
  for (const Parameter& p : trained.parameters()) {
    if (head == TrainedModel::kFrozen || p.offset != head || p.name != "token_embd.weight")
      continue;
    engine->tied_offset_ = head;
    GEIST_ASSIGN(engine->lookups_, FloatBlock::make(p.count));
  }
  return engine;
}

Status GradientEngine::check(std::span<const TrainSequence> sequences) const {
  for (const TrainSequence& sequence : sequences) {
    GEIST_TRY(trained_.model().check_tokens(sequence.ids.subspan(0, 1)));
    if (sequence.ids.size() < 2) return errorf("a sequence of training needs two tokens");
    GEIST_TRY(trained_.model().check_tokens(sequence.ids.first(sequence.ids.size() - 1)));
    GEIST_TRY(trained_.model().check_tokens(sequence.ids.last(1)));
  }
  return {};
}

Status GradientEngine::run_forward(std::span<const TrainSequence> sequences) {
  const model::Model& model = trained_.model();
  if (!model.config().has_logits) return errorf("an embedding model has no next token to learn");
  GEIST_TRY(check(sequences));
  batch_.set(model.config(), trained_.adapters(), sequences);
  const auto floats =
      static_cast<size_t>(model.config().embedding_length) * batch_.targets().size();
  if (hidden_.size() < floats) hidden_.resize(floats);
  tape_.begin(batch_.tokens(), batch_.rows(), *workspace_);
  model.forward(batch_.tokens(), model::Output::kHidden, *workspace_, pool_, hidden_.data(),
                &tape_);
  return tape_.status();
}

void GradientEngine::clear() {
  gradient_.clear();
  if (tied_offset_ >= 0) lookups_.clear();
  finished_ = false;
}

Status GradientEngine::use_scalar_head(std::string_view tensor) {
  GEIST_ASSIGN(scalar_head_, ScalarHead::find(trained_, tensor));
  return {};
}

Result<LossSums> GradientEngine::accumulate(std::span<const TrainSequence> sequences, float scale,
                                            const FinalFrom& final_from) {
  GEIST_TRY(run_forward(sequences));
  return take_back(batch_.weights(), batch_.scalar_weights(), scale, final_from);
}

Status GradientEngine::forward(std::span<const TrainSequence> sequences, RowOutputs* outputs) {
  GEIST_TRY(run_forward(sequences));
  read_rows(outputs);
  return {};
}

Result<LossSums> GradientEngine::backward(std::span<const float> weights,
                                          std::span<const float> scalar_weights, float scale) {
  GEIST_CHECK(!batch_.predicts() || weights.size() == batch_.targets().size());
  GEIST_CHECK(!scalar_head_ || scalar_weights.size() == batch_.targets().size());
  return take_back(weights, scalar_weights, scale);
}

Result<LossSums> GradientEngine::take_back(std::span<const float> weights,
                                           std::span<const float> scalar_weights, float scale,
                                           const FinalFrom& final_from) {
  const model::Linear& head = *tape_.head();
  float* gradient = gradient_.data();
  const auto place = [&](int64_t offset) {
    return offset == TrainedModel::kFrozen ? nullptr : gradient + offset;
  };
  if (scalar_head_) {
    scaled_.assign(scalar_weights.begin(), scalar_weights.end());
    for (float& w : scaled_) w *= scale;
    scalar_head_->weight_gradient(hidden_.data(), scaled_, gradient);
  }
  LossSums sums;
  if (batch_.predicts()) {
    float* dbias = head.bias.empty() ? nullptr : place(trained_.offset_of(head.bias));
    sums = loss_.backward(head, {hidden_.data(), batch_.targets(), weights}, scale,
                          place(trained_.offset_of(head.w)), dbias);
  } else {
    std::fill(hidden_.begin(), hidden_.end(), 0.0f);
  }
  if (scalar_head_) scalar_head_->input_gradient(scaled_, hidden_.data());
  FinalFrom behind_lookups;  // which finish() adds
  if (final_from && tied_offset_ >= 0)
    behind_lookups = [&](int64_t offset) {
      final_from(std::max(offset, tied_offset_ + lookups_.size()));
    };
  tape_.backward(hidden_.data(), gradient, lookups_.data(),
                 behind_lookups ? behind_lookups : final_from);
  return sums;
}

LossSums GradientEngine::read_rows(RowOutputs* outputs) {
  const size_t count = batch_.targets().size();
  LossSums sums;
  if (outputs != nullptr) {
    outputs->log_probabilities.resize(batch_.predicts() ? count : 0);
    outputs->scalars.resize(scalar_head_ ? count : 0);
    if (scalar_head_)
      scalar_head_->forward(hidden_.data(), static_cast<int64_t>(count), outputs->scalars.data());
  }
  if (!batch_.predicts()) return sums;
  return loss_.forward(*tape_.head(), {hidden_.data(), batch_.targets(), batch_.weights()},
                       outputs != nullptr ? outputs->log_probabilities.data() : nullptr);
}

FloatBlock& GradientEngine::finish() {
  if (tied_offset_ >= 0 && !finished_) {
    float* to = gradient_.data() + tied_offset_;
    pool_.for_ranges(lookups_.size(), 16, [&](int64_t begin, int64_t end) {
      trained_.model().kernels().add(to + begin, lookups_.data() + begin, end - begin, to + begin);
    });
  }
  finished_ = true;
  return gradient_;
}

Result<LossSums> GradientEngine::evaluate(std::span<const TrainSequence> sequences,
                                          RowOutputs* outputs) {
  GEIST_TRY(check(sequences));
  const model::Model& model = trained_.model();
  batch_.set(model.config(), trained_.adapters(), sequences);
  const auto floats =
      static_cast<size_t>(model.config().embedding_length) * batch_.targets().size();
  if (hidden_.size() < floats) hidden_.resize(floats);
  model.forward(batch_.tokens(), model::Output::kHidden, *workspace_, pool_, hidden_.data());
  return read_rows(outputs);
}

}  // namespace geist::train
