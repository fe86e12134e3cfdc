// A model whose weights are ours to change: one block of F32 memory that holds every tensor, and a
// model::Model that reads its matrices from that very memory. There is no second copy and no second
// definition: what is trained is what is served.
//
// The gradient of a model is a block of the same layout, so that clipping, averaging, the optimiser
// and checkpoints work on flat memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"
#include "kernels/kernels.h"
#include "kernels/matmul.h"
#include "model/model.h"

namespace geist::train {

// Zeroed f32 memory, 64-byte aligned, in huge pages where the system grants them.
class FloatBlock {
 public:
  FloatBlock() = default;
  static Result<FloatBlock> make(int64_t count);
  float* data() const { return memory_.get(); }
  int64_t size() const { return size_; }
  std::span<float> span() const { return {data(), static_cast<size_t>(size_)}; }
  std::span<const std::byte> bytes() const { return std::as_bytes(span()); }
  void clear();

 private:
  std::shared_ptr<float> memory_;
  int64_t size_ = 0;
};

struct Parameter {
  std::string name;  // as in the file
  std::vector<int64_t> dims;
  int64_t offset = 0, count = 0;  // in the block; offsets are multiples of 16
  // Norms and biases are neither decayed nor orthogonalised.
  bool is_matrix() const { return dims.size() > 1; }
};

class TrainedModel {
 public:
  // Widens every float or quantised tensor of the file to F32. Integer tensors are refused.
  static Result<TrainedModel> make(const gguf::File& file,
                                   const kernels::Kernels* kernels = nullptr);

  const model::Model& model() const { return *model_; }
  const gguf::Metadata& metadata() const { return model_->file().metadata(); }
  std::span<const Parameter> parameters() const { return parameters_; }
  int64_t parameter_count() const;  // without the gaps of alignment
  const FloatBlock& weights() const { return weights_; }

  // To be called after the weights have changed and before the next pass.
  void weights_changed() { model_->refresh_vectors(); }

  // Where the gradient of a weight lies in a block of the layout of weights().
  int64_t offset_of(const kernels::Matrix& matrix) const;
  int64_t offset_of(const std::vector<float>& vector) const;

  // SHA-256 over all weights in the order of the file, names included: equal models, equal hashes.
  std::string hash() const;
  // Writes `weights` (this model's layout) as a GGUF file with this model's metadata.
  Status save(const std::string& path, const FloatBlock& weights) const;

 private:
  TrainedModel() = default;
  FloatBlock weights_;
  std::vector<Parameter> parameters_;
  std::unique_ptr<model::Model> model_;
};

}  // namespace geist::train
