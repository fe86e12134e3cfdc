// A model whose weights are ours to change: one block of F32 memory that holds every tensor, and a
// model::Model that reads its matrices from that very memory. There is no second copy and no second
// definition: what is trained is what is served.
//
// Or an adapter beside a model that stays as it is, in the types of its file: then the block holds
// A and B of the adapter, and the model's own weights are frozen.
//
// The gradient of a model is a block of the same layout, so that clipping, averaging, the optimiser
// and checkpoints work on flat memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "gguf/gguf.h"
#include "kernels/kernels.h"
#include "kernels/matmul.h"
#include "model/lora.h"
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
  // Elements [begin, end) become +0 and take no memory until they are written again.
  void drop(int64_t begin, int64_t end);

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

struct LoraOptions {
  int64_t rank = 16;
  double alpha = 32;
  // Of each layer: the names of tensors without "blk.N." and ".weight".
  std::vector<std::string> targets = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                      "ffn_gate", "ffn_up", "ffn_down"};
};

class TrainedModel {
 public:
  // Widens every float or quantised tensor of the file to F32. Integer tensors are refused.
  static Result<TrainedModel> make(const gguf::File& file,
                                   const kernels::Kernels* kernels = nullptr);

  // An adapter for the model of the file, whose products stay the engine's own. A is uniform in
  // +-1/sqrt(inputs), drawn from `seed`; B is 0.
  static Result<TrainedModel> make_adapter(gguf::File file, const LoraOptions& options,
                                           uint64_t seed,
                                           const kernels::Kernels* kernels = nullptr);

  const model::Model& model() const { return *model_; }
  // What every token of a pass is given; null: no adapter is trained.
  const model::AdapterSet* adapters() const { return adapters_.get(); }
  // Of the files that hold the parameters.
  const gguf::Metadata& metadata() const { return metadata_; }
  std::span<const Parameter> parameters() const { return parameters_; }
  int64_t parameter_count() const;  // without the gaps of alignment
  const FloatBlock& weights() const { return weights_; }

  // To be called after the weights have changed and before the next pass.
  void weights_changed() {
    if (adapters_ == nullptr) model_->refresh_vectors();
  }

  // Where the gradient of a weight lies in a block of the layout of weights(); kFrozen: nowhere.
  static constexpr int64_t kFrozen = -1;
  int64_t offset_of(const kernels::Matrix& matrix) const;
  int64_t offset_of(const std::vector<float>& vector) const;

  // Where the weights end that share the layer ("blk.3.") of the one at `offset`; all of them, when
  // there is none at it.
  int64_t end_of_layer(int64_t offset) const;

  // SHA-256 over all weights in the order of the file, names included: equal models, equal hashes.
  std::string hash() const;
  // Writes `weights` (this model's layout) as a GGUF file, a model or an adapter, but for the
  // tensor `without`.
  Status save(const std::string& path, const FloatBlock& weights,
              std::string_view without = {}) const;

 private:
  TrainedModel() = default;
  int64_t place_of(const void* data) const;
  // The parameters as tensors of a file in memory that keeps the block alive.
  gguf::File as_file(const std::string& name) const;

  gguf::Metadata metadata_;
  FloatBlock weights_;
  std::vector<Parameter> parameters_;
  std::unique_ptr<model::Model> model_;
  std::unique_ptr<const model::AdapterSet> adapters_;
};

}  // namespace geist::train
