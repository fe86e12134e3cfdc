// Low-rank adapters (LoRA, Hu et al., arXiv:2106.09685), applied while the model runs and never
// merged into its weights: y = W x + sum over adapters of scale * (alpha / rank) * B (A x). Each
// sequence of a batch has an adapter set of its own; a token's bits do not depend on the others'.
//
// The file is llama.cpp's: GGUF with general.type "adapter", adapter.type "lora",
// adapter.lora.alpha, and for a tensor NAME of the base model NAME.lora_a [rank, inputs] and
// NAME.lora_b [outputs, rank], F32, F16 or BF16. For the token embedding, whose rows are looked up,
// lora_a is [vocabulary, rank]. Tensors train.* (a trainer's state) are passed over. lora_import.h
// makes the same of PEFT's folders.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "base/result.h"
#include "gguf/gguf.h"
#include "kernels/matmul.h"

namespace geist::model {

class Model;

// What an adapter adds to one matrix.
struct LoraPair {
  kernels::Matrix a,
      b;             // a [rank, inputs] (token embedding: [vocabulary, rank]), b [outputs, rank]
  double scale = 1;  // alpha / rank
  int64_t rank() const { return b.cols; }
};

// Immutable; any number of sets and threads may share one. Refers to the base model's matrices.
class LoraAdapter {
 public:
  // Takes the file over. An error names the file, the tensor and what does not fit the base.
  static Result<std::shared_ptr<const LoraAdapter>> load(gguf::File file, const Model& base);

  // Null when this adapter leaves the matrix alone.
  const LoraPair* find(const kernels::Matrix* base) const;
  const gguf::File& file() const { return file_; }
  size_t pair_count() const { return pairs_.size(); }
  // Of everything that reaches a result: alpha, names, types, shapes and bytes of all tensors.
  const Sha256Digest& digest() const { return digest_; }

 private:
  Status add_pair(const gguf::Tensor& a, const std::string& base_name, double alpha,
                  const Model& base);

  gguf::File file_;
  std::unordered_map<const kernels::Matrix*, LoraPair> pairs_;  // looked up, never walked
  Sha256Digest digest_{};
};

// Adapters in the order in which they are added, each with its scale. Immutable.
class AdapterSet {
 public:
  struct Member {
    std::shared_ptr<const LoraAdapter> adapter;
    float scale = 1.0f;
  };
  explicit AdapterSet(std::vector<Member> members);

  std::span<const Member> members() const { return members_; }
  // Names the set: keys and values made with sets of different hashes are different, also from
  // those made with none.
  const Sha256Digest& hash() const { return hash_; }

 private:
  std::vector<Member> members_;
  Sha256Digest hash_{};
};

// f32(scale * alpha / rank), computed in double.
inline float lora_factor(const LoraPair& pair, float scale) {
  return static_cast<float>(double{scale} * pair.scale);
}

// What an adapter file says of itself, for people; no base model is needed.
struct LoraInfo {
  std::string architecture, name;
  double alpha = 0;
  int64_t rank_min = 0, rank_max = 0, parameters = 0, pairs = 0;
};
bool is_adapter_file(const gguf::File& file);
Result<LoraInfo> read_lora_info(const gguf::File& file);

// One pair as a trainer holds it. a: [rank, inputs], b: [outputs, rank], row-major.
struct LoraMatrices {
  std::string tensor;  // of the base model: "blk.0.attn_q.weight"
  int64_t rank = 0, inputs = 0, outputs = 0;
  std::vector<float> a, b;
};
// Writes an adapter file of F32 tensors.
Status write_lora(const std::string& path, std::string_view architecture, float alpha,
                  std::span<const LoraMatrices> matrices);
// The metadata of such a file.
gguf::Metadata lora_metadata(std::string_view architecture, float alpha);

}  // namespace geist::model
