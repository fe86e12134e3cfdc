#include "train/new_model.h"

#include <cmath>
#include <memory>
#include <vector>

#include "base/rng.h"
#include "kernels/math.h"
#include "train/trained_model.h"

namespace geist::train {
namespace {

using gguf::Value;
using kernels::TensorType;

enum class Fill { kNormal, kResidual, kOne, kZero };

struct Plan {
  std::string name;
  std::vector<int64_t> dims;
  Fill fill;
};

class Builder {
 public:
  Builder(const ModelShape& shape, int64_t vocab) : s_(shape) {
    const bool gpt = s_.architecture == "gpt2";
    add("token_embd.weight", {s_.width, vocab}, Fill::kNormal);
    if (gpt) add("position_embd.weight", {s_.width, s_.context}, Fill::kNormal);
    for (int64_t i = 0; i < s_.layers; ++i)
      gpt ? gpt_layer("blk." + std::to_string(i) + ".")
          : llama_layer("blk." + std::to_string(i) + ".");
    norm("output_norm", gpt);
    if (!s_.tied) add("output.weight", {s_.width, vocab}, Fill::kNormal);
  }
  const std::vector<Plan>& plans() const { return plans_; }

 private:
  void add(const std::string& name, std::vector<int64_t> dims, Fill fill) {
    plans_.push_back({name, std::move(dims), fill});
  }
  void norm(const std::string& base, bool bias) {
    add(base + ".weight", {s_.width}, Fill::kOne);
    if (bias) add(base + ".bias", {s_.width}, Fill::kZero);
  }
  void linear(const std::string& base, int64_t cols, int64_t rows, Fill fill, bool bias) {
    add(base + ".weight", {cols, rows}, fill);
    if (bias) add(base + ".bias", {rows}, Fill::kZero);
  }
  void gpt_layer(const std::string& blk) {
    norm(blk + "attn_norm", true);
    linear(blk + "attn_qkv", s_.width, 3 * s_.width, Fill::kNormal, true);
    linear(blk + "attn_output", s_.width, s_.width, Fill::kResidual, true);
    norm(blk + "ffn_norm", true);
    linear(blk + "ffn_up", s_.width, s_.feed_forward, Fill::kNormal, true);
    linear(blk + "ffn_down", s_.feed_forward, s_.width, Fill::kResidual, true);
  }
  void llama_layer(const std::string& blk) {
    const int64_t kv = s_.width / s_.heads * s_.kv_heads;
    norm(blk + "attn_norm", false);
    linear(blk + "attn_q", s_.width, s_.width, Fill::kNormal, false);
    linear(blk + "attn_k", s_.width, kv, Fill::kNormal, false);
    linear(blk + "attn_v", s_.width, kv, Fill::kNormal, false);
    linear(blk + "attn_output", s_.width, s_.width, Fill::kResidual, false);
    norm(blk + "ffn_norm", false);
    linear(blk + "ffn_gate", s_.width, s_.feed_forward, Fill::kNormal, false);
    linear(blk + "ffn_up", s_.width, s_.feed_forward, Fill::kNormal, false);
    linear(blk + "ffn_down", s_.feed_forward, s_.width, Fill::kResidual, false);
  }

  const ModelShape& s_;
  std::vector<Plan> plans_;
};

// Box and Muller, two at a time.
void fill_normal(float* out, int64_t count, double deviation, RandomStream random) {
  constexpr double kTwoPi = 6.283185307179586;
  for (int64_t i = 0; i < count; i += 2) {
    const double u = 1.0 - random.next_double(), angle = kTwoPi * random.next_double();
    const double radius = deviation * std::sqrt(-2.0 * kernels::det_log(u));
    out[i] = static_cast<float>(radius * kernels::det_cos(angle));
    if (i + 1 < count) out[i + 1] = static_cast<float>(radius * kernels::det_sin(angle));
  }
}

gguf::Metadata shape_metadata(const ModelShape& s, int64_t vocab) {
  gguf::Metadata m;
  const auto integer = [&](const char* key, int64_t v) {
    m[s.architecture + "." + key] = Value::u32(static_cast<uint32_t>(v));
  };
  const bool gpt = s.architecture == "gpt2";
  m["general.architecture"] = Value::string(s.architecture);
  integer("context_length", s.context);
  integer("embedding_length", s.width);
  integer("block_count", s.layers);
  integer("feed_forward_length", s.feed_forward);
  integer("attention.head_count", s.heads);
  integer("vocab_size", vocab);
  const std::string eps =
      gpt ? ".attention.layer_norm_epsilon" : ".attention.layer_norm_rms_epsilon";
  m[s.architecture + eps] = Value::f32(static_cast<float>(s.norm_eps));
  if (gpt) return m;
  integer("attention.head_count_kv", s.kv_heads);
  integer("rope.dimension_count", s.width / s.heads);
  m["llama.rope.freq_base"] = Value::f32(static_cast<float>(s.rope_base));
  return m;
}

Status complete(ModelShape& s) {
  const bool gpt = s.architecture == "gpt2";
  if (!gpt && s.architecture != "llama")
    return errorf("a new model's architecture is llama or gpt2, not '%.40s'",
                  s.architecture.c_str());
  if (s.kv_heads == 0) s.kv_heads = s.heads;
  if (s.feed_forward == 0) s.feed_forward = gpt ? 4 * s.width : (s.width * 8 / 3 + 31) / 32 * 32;
  for (const int64_t n : {s.layers, s.width, s.heads, s.kv_heads, s.feed_forward, s.context})
    if (n < 1 || n > (1 << 24))
      return errorf("a new model cannot have a size of %lld", (long long)n);
  if (s.width % s.heads != 0 || s.heads % s.kv_heads != 0 || (!gpt && s.width / s.heads % 2 != 0))
    return errorf(
        "width %lld, %lld heads and %lld key heads do not fit: heads must divide the width into "
        "even parts, and key heads the heads",
        (long long)s.width, (long long)s.heads, (long long)s.kv_heads);
  if (gpt && s.kv_heads != s.heads) return errorf("gpt2 has as many key heads as heads");
  return {};
}

int64_t elements(const Plan& plan) {
  return plan.dims[0] * (plan.dims.size() > 1 ? plan.dims[1] : 1);
}

}  // namespace

Result<SizedShape> size_shape(const ModelShape& shape, int64_t vocab) {
  SizedShape sized{shape};
  GEIST_TRY(complete(sized.shape));
  const Builder builder(sized.shape, vocab);
  for (const Plan& plan : builder.plans()) sized.parameters += elements(plan);
  return sized;
}

Result<gguf::File> new_model(const ModelShape& asked, const gguf::Metadata& tokenizer,
                             uint64_t seed) {
  ModelShape shape = asked;
  GEIST_TRY(complete(shape));
  GEIST_ASSIGN(const std::vector<std::string>* tokens,
               gguf::get_strings(tokenizer, "tokenizer.ggml.tokens"));
  if (tokens == nullptr || tokens->empty())
    return errorf("the tokenizer file has no tokenizer.ggml.tokens");
  const auto vocab = static_cast<int64_t>(tokens->size());
  gguf::Metadata metadata = shape_metadata(shape, vocab);
  for (const auto& [key, value] : tokenizer)
    if (key.starts_with("tokenizer.")) metadata[key] = value;

  const Builder builder(shape, vocab);
  int64_t size = 0;
  for (const Plan& plan : builder.plans()) size += elements(plan);
  GEIST_ASSIGN(FloatBlock block, FloatBlock::make(size));
  auto owned = std::make_shared<FloatBlock>(block);
  const double residual = shape.deviation / std::sqrt(2.0 * static_cast<double>(shape.layers));
  std::vector<gguf::Tensor> tensors;
  float* at = owned->data();
  for (const Plan& plan : builder.plans()) {
    const int64_t count = elements(plan);
    if (plan.fill == Fill::kNormal || plan.fill == Fill::kResidual) {
      const double deviation = plan.fill == Fill::kResidual ? residual : shape.deviation;
      fill_normal(at, count, deviation, RandomStream(seed, "init " + plan.name));
    } else {
      std::fill(at, at + count, plan.fill == Fill::kOne ? 1.0f : 0.0f);
    }
    tensors.push_back({plan.name, TensorType::kF32, plan.dims,
                       std::as_bytes(std::span(at, static_cast<size_t>(count)))});
    at += count;
  }
  return gguf::File::assemble(std::move(metadata), std::move(tensors), owned, "the new model");
}

}  // namespace geist::train
