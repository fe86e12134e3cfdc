#include "engine/reward_head.h"

#include "kernels/block.h"

namespace geist::engine {
namespace {

Result<std::vector<float>> read(const gguf::File& file, const gguf::Tensor& tensor, int64_t count) {
  if (tensor.elements() != count || tensor.columns() != count)
    return errorf("%s: tensor '%s' has %lld numbers; the head of a reward model here has %lld",
                  file.name().c_str(), tensor.name.c_str(),
                  static_cast<long long>(tensor.elements()), static_cast<long long>(count));
  std::vector<float> out(static_cast<size_t>(count));
  kernels::dequantize_row(tensor.type, tensor.data.data(), count, out.data());
  return out;
}

}  // namespace

Result<RewardHead> RewardHead::load(const model::Model& model) {
  const gguf::File& file = model.file();
  const gguf::Tensor* weight = file.find(kRewardHead);
  if (weight == nullptr)
    return errorf("%s is not a reward model: it has no tensor '%s' (geist train reward makes one)",
                  file.name().c_str(), kRewardHead);
  RewardHead head(model);
  GEIST_ASSIGN(head.weight_, read(file, *weight, model.config().embedding_length));
  if (const gguf::Tensor* bias = file.find("cls.output.bias")) {
    GEIST_ASSIGN(const std::vector<float> value, read(file, *bias, 1));
    head.bias_ = value[0];
  }
  return head;
}

Result<float> RewardHead::score(Runner& runner, std::span<const TokenId> ids) const {
  if (ids.empty()) return errorf("an empty sequence has no reward");
  GEIST_TRY(model_->check_tokens(ids));
  Session session(*model_, {});
  GEIST_TRY(session.append(ids));
  const auto width = static_cast<int64_t>(weight_.size());
  float score = 0;
  const PassOptions pass{.output = model::Output::kHidden,
                         .on_row =
                             [&](const Session&, int32_t, std::span<const float> row) {
                               score =
                                   model_->kernels().dot(weight_.data(), row.data(), width) + bias_;
                             },
                         .row_from = session.length() - 1};
  while (session.pending() > 0) runner.pass(session, pass);
  return score;
}

}  // namespace geist::engine
