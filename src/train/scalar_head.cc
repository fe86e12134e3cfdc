#include "train/scalar_head.h"

#include <memory>
#include <utility>

#include "model/model.h"

namespace geist::train {

Result<gguf::File> with_scalar_head(gguf::File file, std::string_view name) {
  if (file.find(name) != nullptr) return file;
  GEIST_ASSIGN(const model::Config config, model::read_model_config(file));
  struct Owned {
    gguf::File file;
    std::vector<float> weight;
  };
  auto owned = std::make_shared<Owned>(
      Owned{std::move(file), std::vector<float>(static_cast<size_t>(config.embedding_length))});
  const auto list = owned->file.tensors();
  std::vector<gguf::Tensor> tensors(list.begin(), list.end());
  tensors.push_back({std::string(name),
                     kernels::TensorType::kF32,
                     {config.embedding_length},
                     std::as_bytes(std::span(owned->weight))});
  return gguf::File::assemble(owned->file.metadata(), std::move(tensors), owned,
                              owned->file.name());
}

Result<ScalarHead> ScalarHead::find(const TrainedModel& trained, std::string_view name) {
  const auto width = trained.model().config().embedding_length;
  for (const Parameter& p : trained.parameters()) {
    if (p.name != name) continue;
    if (p.count != width)
      return errorf("tensor '%s' has %lld numbers; a scalar head of this model has %d",
                    p.name.c_str(), static_cast<long long>(p.count), width);
    return ScalarHead(trained, p);
  }
  return errorf("the model has no tensor '%s'", std::string(name).c_str());
}

void ScalarHead::forward(const float* hidden, int64_t count, float* out) const {
  const float* w = trained_->weights().data() + offset_;
  for (int64_t i = 0; i < count; ++i)
    out[i] = trained_->model().kernels().dot(w, hidden + i * width_, width_);
}

void ScalarHead::weight_gradient(const float* hidden, std::span<const float> d,
                                 float* gradient) const {
  float* dw = gradient + offset_;
  for (size_t i = 0; i < d.size(); ++i)
    trained_->model().kernels().add_scaled(dw, hidden + static_cast<int64_t>(i) * width_, d[i],
                                           width_, dw);
}

void ScalarHead::input_gradient(std::span<const float> d, float* dhidden) const {
  const float* w = trained_->weights().data() + offset_;
  for (size_t i = 0; i < d.size(); ++i) {
    float* row = dhidden + static_cast<int64_t>(i) * width_;
    trained_->model().kernels().add_scaled(row, w, d[i], width_, row);
  }
}

}  // namespace geist::train
