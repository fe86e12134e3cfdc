// A scalar head: one number from the hidden state of a token, after the final norm. A reward model
// has one on its last token (model/reward_head.h), an actor's critic on each. Its weight is a
// tensor of the model's file, so that it is trained, hashed and kept with the rest.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "gguf/gguf.h"
#include "train/trained_model.h"

namespace geist::train {

// The file with a tensor `name` of zeros, [embedding]; as it is when it has one.
Result<gguf::File> with_scalar_head(gguf::File file, std::string_view name);

class ScalarHead {
 public:
  // An error when the model has no such tensor, or of another shape.
  static Result<ScalarHead> find(const TrainedModel& trained, std::string_view name);

  // out[i] = w . hidden[i]; rows of `width`.
  void forward(const float* hidden, int64_t count, float* out) const;
  // dweight[k] = fma(d[i], hidden[i][k], dweight[k]) for i ascending.
  void weight_gradient(const float* hidden, std::span<const float> d, float* gradient) const;
  // dhidden[i] = fma(d[i], w, dhidden[i])
  void input_gradient(std::span<const float> d, float* dhidden) const;

 private:
  ScalarHead(const TrainedModel& trained, const Parameter& p)
      : trained_(&trained), offset_(p.offset), width_(p.count) {}
  const TrainedModel* trained_;
  int64_t offset_, width_;
};

}  // namespace geist::train
