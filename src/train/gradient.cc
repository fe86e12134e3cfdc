#include "train/gradient.h"

#include <algorithm>
#include <cstring>

namespace geist::train {

GradientEngine::GradientEngine(const TrainedModel& trained, ThreadPool& pool)
    : trained_(trained),
      pool_(pool),
      tape_(trained, pool),
      loss_(trained.model().kernels(), pool),
      workspace_(model::Model::make_workspace()) {}

Result<std::unique_ptr<GradientEngine>> GradientEngine::make(const TrainedModel& trained,
                                                             ThreadPool& pool) {
  std::unique_ptr<GradientEngine> engine(new GradientEngine(trained, pool));
  // One token through the model tells whether the tape knows every operation, and what is tied.
  const text::TokenId ids[] = {0, 0};
  const TrainSequence probe{ids};
  GEIST_TRY(engine->run_forward({&probe, 1}));
  GEIST_ASSIGN(engine->gradient_, FloatBlock::make(trained.weights().size()));
  const int64_t head = trained.offset_of(engine->tape_.head()->w);
  for (const Parameter& p : trained.parameters()) {
    if (p.offset != head || p.name != "token_embd.weight") continue;
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
  batch_.set(model.config(), sequences);
  const auto floats =
      static_cast<size_t>(model.config().embedding_length) * batch_.targets().size();
  if (hidden_.size() < floats) hidden_.resize(floats);
  tape_.begin(batch_.tokens(), batch_.rows());
  model.forward(batch_.tokens(), model::Output::kHidden, *workspace_, pool_, hidden_.data(),
                &tape_);
  return tape_.status();
}

void GradientEngine::clear() {
  gradient_.clear();
  if (tied_offset_ >= 0) lookups_.clear();
}

Result<LossSums> GradientEngine::accumulate(std::span<const TrainSequence> sequences, float scale) {
  GEIST_TRY(run_forward(sequences));
  const model::Linear& head = *tape_.head();
  float* dbias = head.bias.empty() ? nullptr : gradient_.data() + trained_.offset_of(head.bias);
  const LossSums sums = loss_.backward(head, {hidden_.data(), batch_.targets(), batch_.weights()},
                                       scale, gradient_.data() + trained_.offset_of(head.w), dbias);
  tape_.backward(hidden_.data(), gradient_.data(), lookups_.data());
  return sums;
}

FloatBlock& GradientEngine::finish() {
  if (tied_offset_ >= 0) {
    float* to = gradient_.data() + tied_offset_;
    pool_.for_ranges(lookups_.size(), 16, [&](int64_t begin, int64_t end) {
      trained_.model().kernels().add(to + begin, lookups_.data() + begin, end - begin, to + begin);
    });
  }
  return gradient_;
}

Result<LossSums> GradientEngine::evaluate(std::span<const TrainSequence> sequences,
                                          std::vector<double>* log_probabilities) {
  GEIST_TRY(check(sequences));
  const model::Model& model = trained_.model();
  batch_.set(model.config(), sequences);
  const auto count = batch_.targets().size();
  const auto floats = static_cast<size_t>(model.config().embedding_length) * count;
  if (hidden_.size() < floats) hidden_.resize(floats);
  model.forward(batch_.tokens(), model::Output::kHidden, *workspace_, pool_, hidden_.data());
  if (log_probabilities != nullptr) log_probabilities->resize(count);
  return loss_.forward(*tape_.head(), {hidden_.data(), batch_.targets(), batch_.weights()},
                       log_probabilities != nullptr ? log_probabilities->data() : nullptr);
}

}  // namespace geist::train
