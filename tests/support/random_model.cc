#include "tests/support/random_model.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>

#include "base/check.h"
#include "base/rng.h"
#include "kernels/block.h"

namespace geist::testing {
namespace {

using gguf::Value;
using kernels::TensorType;

// Collects metadata and tensors of one model.
class Builder {
 public:
  // The shape that most variants share; a variant changes what it needs before adding tensors.
  int64_t block;  // that row lengths are multiples of, 32 where the type has none
  int64_t width, ff, heads = 4, kv_heads = 2, head_dim, layers = 2, vocab = 288, context = 256;
  int64_t experts = 4, experts_used = 2, expert_ff;
  bool deep = false;

  Builder(std::string architecture, TensorType type, uint64_t seed, Shape shape)
      : architecture_(std::move(architecture)), type_(type), random_(seed, "random model") {
    block = std::max(32, kernels::tensor_type_info(type).block_size);
    width = std::max<int64_t>(64, block);
    ff = block == 256 ? 512 : 128;
    expert_ff = block == 256 ? 256 : 64;
    head_dim = width / heads;
    if (shape == Shape::kRandom) draw_shape(seed);
    deep = shape == Shape::kDeep;
  }

  void set(const std::string& key, Value value) {
    metadata_[architecture_ + "." + key] = std::move(value);
  }
  void set_int(const std::string& key, int64_t v) {
    set(key, Value::u32(static_cast<uint32_t>(v)));
  }
  void set_float(const std::string& key, float v) { set(key, Value::f32(v)); }

  void set_tokenizer(const std::string& key, int64_t v) {
    metadata_["tokenizer.ggml." + key] = Value::u32(static_cast<uint32_t>(v));
  }

  void vec(const std::string& name, std::vector<int64_t> dims, float center, float spread) {
    add(name, std::move(dims), TensorType::kF32, center, spread);
  }
  void norm(const std::string& name, std::vector<int64_t> dims, bool bias = false) {
    vec(name + ".weight", dims, 1.0f, 0.35f);
    if (bias) vec(name + ".bias", std::move(dims), 0.0f, 0.35f);
  }
  void mat(const std::string& name, std::vector<int64_t> dims) {
    const float spread = 2.0f / std::sqrt(static_cast<float>(dims[0]));
    add(name, std::move(dims), type_, 0.0f, spread);
  }
  void linear(const std::string& name, int64_t cols, int64_t rows, bool bias = false) {
    mat(name + ".weight", {cols, rows});
    if (bias) vec(name + ".bias", {rows}, 0.0f, 0.35f);
  }

  // The keys that every architecture has, and the embedding table.
  void common(bool rms, float eps = 1e-5f) {
    set_int("context_length", context);
    set_int("embedding_length", width);
    set_int("block_count", layers);
    set_int("feed_forward_length", ff);
    set_int("attention.head_count", heads);
    set_int("attention.head_count_kv", kv_heads);
    set_int("vocab_size", vocab);
    set_float(rms ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", eps);
    if (head_dim * heads != width) {
      set_int("attention.key_length", head_dim);
      set_int("attention.value_length", head_dim);
    }
    mat("token_embd.weight", {width, vocab});
  }
  void rope(int64_t dims, float base = 10000.0f) {
    set_int("rope.dimension_count", dims);
    set_float("rope.freq_base", base);
  }
  void expert_keys() {
    set_int("expert_count", experts);
    set_int("expert_used_count", experts_used);
  }
  void output(bool norm_bias = false, bool tied = false, bool bias = false) {
    norm("output_norm", {width}, norm_bias);
    if (!tied) linear("output", width, vocab, bias);
  }

  static std::string blk(int64_t i, const std::string& what) {
    return "blk." + std::to_string(i) + "." + what;
  }
  void attention(int64_t i, bool qkv_bias = false, bool out_bias = false) {
    linear(blk(i, "attn_q"), width, heads * head_dim, qkv_bias);
    linear(blk(i, "attn_k"), width, kv_heads * head_dim, qkv_bias);
    linear(blk(i, "attn_v"), width, kv_heads * head_dim, qkv_bias);
    linear(blk(i, "attn_output"), heads * head_dim, width, out_bias);
  }
  void fused_attention(int64_t i, bool qkv_bias = false, bool out_bias = false) {
    linear(blk(i, "attn_qkv"), width, (heads + 2 * kv_heads) * head_dim, qkv_bias);
    linear(blk(i, "attn_output"), heads * head_dim, width, out_bias);
  }
  void gated_mlp(int64_t i, bool bias = false) {
    linear(blk(i, "ffn_gate"), width, ff, bias);
    linear(blk(i, "ffn_up"), width, ff, bias);
    linear(blk(i, "ffn_down"), ff, width, bias);
  }
  void plain_mlp(int64_t i, bool bias) {
    linear(blk(i, "ffn_up"), width, ff, bias);
    linear(blk(i, "ffn_down"), ff, width, bias);
  }
  void moe(int64_t i, int64_t wide, bool bias = false) {
    vec(blk(i, "ffn_gate_inp.weight"), {width, experts}, 0.0f,
        2.0f / std::sqrt(static_cast<float>(width)));
    mat(blk(i, "ffn_gate_exps.weight"), {width, wide, experts});
    mat(blk(i, "ffn_up_exps.weight"), {width, wide, experts});
    mat(blk(i, "ffn_down_exps.weight"), {wide, width, experts});
    if (!bias) return;
    vec(blk(i, "ffn_gate_inp.bias"), {experts}, 0.0f, 0.35f);
    vec(blk(i, "ffn_gate_exps.bias"), {wide, experts}, 0.0f, 0.35f);
    vec(blk(i, "ffn_up_exps.bias"), {wide, experts}, 0.0f, 0.35f);
    vec(blk(i, "ffn_down_exps.bias"), {width, experts}, 0.0f, 0.35f);
  }
  void shared_expert(int64_t i, int64_t wide) {
    linear(blk(i, "ffn_gate_shexp"), width, wide);
    linear(blk(i, "ffn_up_shexp"), width, wide);
    linear(blk(i, "ffn_down_shexp"), wide, width);
  }
  void head_norms(int64_t i, std::vector<int64_t> q, std::vector<int64_t> k) {
    norm(blk(i, "attn_q_norm"), std::move(q));
    norm(blk(i, "attn_k_norm"), std::move(k));
  }

  // Turns each table of experts into a tensor for each expert, as files from before the tables have
  // them. The weights stay the same.
  void split_experts() {
    std::vector<gguf::Tensor> split;
    for (const gguf::Tensor& t : tensors_) {
      const size_t suffix = t.name.find("_exps.weight");
      if (suffix == std::string::npos) {
        split.push_back(t);
        continue;
      }
      const auto count = static_cast<size_t>(t.dims[2]);
      const size_t bytes = t.data.size() / count;
      for (size_t e = 0; e < count; ++e)
        split.push_back({t.name.substr(0, suffix) + "." + std::to_string(e) + ".weight",
                         t.type,
                         {t.dims[0], t.dims[1]},
                         t.data.subspan(e * bytes, bytes)});
    }
    tensors_ = std::move(split);
  }

  gguf::File build(const std::string& name) {
    metadata_["general.architecture"] = Value::string(architecture_);
    metadata_["general.name"] = Value::string(name);
    metadata_["tokenizer.ggml.model"] = Value::string("no_vocab");
    return gguf::File::assemble(std::move(metadata_), std::move(tensors_), std::move(bytes_), name);
  }

 private:
  // Sizes that no vector, panel or tile divides, as far as blocks allow: rows of quantised matrices
  // are whole blocks, and a quarter of a head must have an even number of elements to rotate.
  void draw_shape(uint64_t seed) {
    RandomStream random(seed, "random shape");
    const auto from = [&](int64_t low, int64_t high) {
      return low + static_cast<int64_t>(random.next_below(static_cast<uint64_t>(high - low + 1)));
    };
    vocab += from(1, 15);
    if (block == 256) {
      ff = 256 * from(1, 2);
      heads = int64_t{2} << from(0, 2);  // all heads together are one block
      head_dim = 256 / heads;
    } else if (kernels::is_quantized(type_)) {
      width = 32 * from(1, 4);
      ff = 32 * from(1, 5);
      expert_ff = 32 * from(1, 3);
      head_dim = 8 * from(1, 4);
    } else {
      width = from(33, 95);
      ff = from(65, 160);
      expert_ff = from(17, 70);
      heads = 2 * from(1, 3);
      head_dim = 8 * from(1, 5);
    }
  }

  using Storage = std::vector<std::unique_ptr<std::vector<std::byte>>>;

  float uniform() { return static_cast<float>(2.0 * random_.next_double() - 1.0); }

  void add(const std::string& name, std::vector<int64_t> dims, TensorType type, float center,
           float spread) {
    gguf::Tensor t{name, type, std::move(dims), {}};
    const int64_t row_bytes = kernels::row_bytes(type, t.columns()).value_or(0);
    GEIST_CHECK(row_bytes > 0);
    auto bytes =
        std::make_unique<std::vector<std::byte>>(static_cast<size_t>(row_bytes * t.rows()));
    std::vector<float> row(static_cast<size_t>(t.columns()));
    for (int64_t r = 0; r < t.rows(); ++r) {
      for (float& x : row) x = center + spread * uniform();
      kernels::quantize_row(type, row.data(), t.columns(), bytes->data() + r * row_bytes);
    }
    t.data = *bytes;
    bytes_->push_back(std::move(bytes));
    tensors_.push_back(std::move(t));
  }

  std::string architecture_;
  TensorType type_;
  RandomStream random_;
  gguf::Metadata metadata_;
  std::vector<gguf::Tensor> tensors_;
  std::shared_ptr<Storage> bytes_ = std::make_shared<Storage>();
};

struct Variant {
  std::string_view name, architecture;
  void (*fill)(Builder& b);
};

std::string blk(int64_t i, const std::string& what) { return Builder::blk(i, what); }

// Norm, attention, norm, MLP, both gated and RMS: what most architectures vary.
void fill_llama_like(Builder& b, bool qkv_bias, bool all_bias, float base, bool tied = false) {
  b.common(true);
  b.rope(b.head_dim, base);
  b.output(false, tied);
  for (int64_t i = 0; i < b.layers; ++i) {
    b.norm(blk(i, "attn_norm"), {b.width});
    b.attention(i, qkv_bias, all_bias);
    b.norm(blk(i, "ffn_norm"), {b.width});
    b.gated_mlp(i, all_bias);
  }
}

void fill_mixture(Builder& b, int64_t wide, bool qkv_bias,
                  const std::function<void(int64_t)>& more) {
  b.common(true);
  b.expert_keys();
  b.rope(b.head_dim, 1e6f);
  b.output();
  for (int64_t i = 0; i < b.layers; ++i) {
    b.norm(blk(i, "attn_norm"), {b.width});
    b.attention(i, qkv_bias);
    b.norm(blk(i, "ffn_norm"), {b.width});
    b.moe(i, wide);
    more(i);
  }
}

void fill_mixtral(Builder& b) {
  b.ff = b.expert_ff;
  fill_mixture(b, b.ff, false, [](int64_t) {});
}

void fill_gemma_post_norms(Builder& b, bool head_norms, int64_t layers) {
  b.layers = layers;
  b.head_dim *= 2;
  b.common(true, 1e-6f);
  b.rope(b.head_dim, head_norms ? 1e6f : 1e4f);
  b.set_int("attention.sliding_window", 24);
  b.output(false, true);
  for (int64_t i = 0; i < b.layers; ++i) {
    b.norm(blk(i, "attn_norm"), {b.width});
    b.attention(i);
    if (head_norms) b.head_norms(i, {b.head_dim}, {b.head_dim});
    b.norm(blk(i, "post_attention_norm"), {b.width});
    b.norm(blk(i, "ffn_norm"), {b.width});
    b.gated_mlp(i);
    b.norm(blk(i, "post_ffw_norm"), {b.width});
  }
}

void fill_phi3(Builder& b) {
  b.common(true);
  b.rope(b.head_dim);
  b.output();
  for (int64_t i = 0; i < b.layers; ++i) {
    b.norm(blk(i, "attn_norm"), {b.width});
    b.fused_attention(i);
    b.norm(blk(i, "ffn_norm"), {b.width});
    b.linear(blk(i, "ffn_up"), b.width, 2 * b.ff);
    b.linear(blk(i, "ffn_down"), b.ff, b.width);
  }
}

// LayerNorm with bias, GELU, biases everywhere.
void fill_gpt_like(Builder& b, bool fused, bool tied) {
  b.output(true, tied);
  for (int64_t i = 0; i < b.layers; ++i) {
    b.norm(blk(i, "attn_norm"), {b.width}, true);
    fused ? b.fused_attention(i, true, true) : b.attention(i, true, true);
    b.norm(blk(i, "ffn_norm"), {b.width}, true);
    b.plain_mlp(i, true);
  }
}

void fill_falcon(Builder& b, int64_t kv_heads, bool second_norm) {
  b.kv_heads = kv_heads;
  b.common(false);
  b.rope(b.head_dim);
  b.output(true, true);
  for (int64_t i = 0; i < b.layers; ++i) {
    b.norm(blk(i, "attn_norm"), {b.width}, true);
    if (second_norm) b.norm(blk(i, "attn_norm_2"), {b.width}, true);
    b.fused_attention(i);
    b.plain_mlp(i, false);
  }
}

void fill_stablelm(Builder& b, bool large) {
  b.common(false);
  b.rope(b.head_dim / 4);
  b.set("use_parallel_residual", Value::boolean(large));
  b.output(true);
  for (int64_t i = 0; i < b.layers; ++i) {
    b.norm(blk(i, "attn_norm"), {b.width}, true);
    b.attention(i, !large);
    if (large) b.head_norms(i, {b.head_dim, b.heads}, {b.head_dim, b.kv_heads});
    if (!large) b.norm(blk(i, "ffn_norm"), {b.width}, true);
    b.gated_mlp(i);
  }
}

void fill_command_r(Builder& b, bool head_norms) {
  if (head_norms && b.deep) b.layers = 64;
  b.common(false);
  b.rope(b.head_dim, 8e6f);
  b.set_float("logit_scale", 0.5f);
  b.output(false, true);
  for (int64_t i = 0; i < b.layers; ++i) {
    b.norm(blk(i, "attn_norm"), {b.width});
    b.attention(i);
    if (head_norms) b.head_norms(i, {b.head_dim, b.heads}, {b.head_dim, b.kv_heads});
    b.gated_mlp(i);
  }
}

void fill_olmo2(Builder& b, bool windows) {
  if (windows) b.layers = 5;
  b.common(true, 1e-6f);
  b.rope(b.head_dim, 5e5f);
  if (windows) {
    b.set_int("attention.sliding_window", 24);
    b.set("rope.scaling.type", Value::string("yarn"));
    b.set_float("rope.scaling.factor", 8.0f);
    b.set_int("rope.scaling.original_context_length", 32);
    b.set_float("rope.scaling.attn_factor", 1.2f);
  }
  b.output();
  for (int64_t i = 0; i < b.layers; ++i) {
    b.attention(i);
    b.head_norms(i, {b.heads * b.head_dim}, {b.kv_heads * b.head_dim});
    b.norm(blk(i, "post_attention_norm"), {b.width});
    b.gated_mlp(i);
    b.norm(blk(i, "post_ffw_norm"), {b.width});
  }
}

void set_granite_scales(Builder& b) {
  b.set_float("embedding_scale", 6.0f);
  b.set_float("residual_scale", 0.4f);
  b.set_float("attention.scale", 0.1f);
  b.set_float("logit_scale", 2.0f);
}

void fill_gpt_oss(Builder& b) {
  b.layers = 3;
  b.head_dim *= 2;
  b.common(true);
  b.expert_keys();
  b.set_int("expert_feed_forward_length", b.expert_ff);
  b.set_int("attention.sliding_window", 24);
  b.rope(b.head_dim, 150000.0f);
  b.set("rope.scaling.type", Value::string("yarn"));
  b.set_float("rope.scaling.factor", 32.0f);
  b.set_int("rope.scaling.original_context_length", 64);
  b.output();
  for (int64_t i = 0; i < b.layers; ++i) {
    b.norm(blk(i, "attn_norm"), {b.width});
    b.attention(i, true, true);
    b.vec(blk(i, "attn_sinks.weight"), {b.heads}, 0.0f, 1.5f);
    b.norm(blk(i, "post_attention_norm"), {b.width});
    b.moe(i, b.expert_ff, true);
  }
}

void fill_mpt(Builder& b) {
  b.width = 3 * b.block;  // 6 heads: ALiBi slopes for a count that is not a power of two
  b.heads = b.kv_heads = 6;
  b.head_dim = b.width / b.heads;
  b.common(false);
  b.set_float("attention.clamp_kqv", 0.8f);
  b.set_float("attention.max_alibi_bias", 8.0f);
  b.output(false, true);
  for (int64_t i = 0; i < b.layers; ++i) {
    b.norm(blk(i, "attn_norm"), {b.width});
    b.fused_attention(i);
    b.norm(blk(i, "ffn_norm"), {b.width});
    b.plain_mlp(i, false);
  }
}

void fill_bert(Builder& b, bool nomic) {
  b.kv_heads = b.heads;
  b.common(false, 1e-12f);
  b.set("attention.causal", Value::boolean(false));
  b.set_int("pooling_type", nomic ? 1 : 2);
  b.set_tokenizer("token_type_count", 2);
  b.vec("token_types.weight", {b.width, 2}, 0.0f, 0.35f);
  if (nomic) b.rope(b.head_dim, 1000.0f);
  if (!nomic) b.mat("position_embd.weight", {b.width, b.context});
  b.norm("token_embd_norm", {b.width}, true);
  for (int64_t i = 0; i < b.layers; ++i) {
    nomic ? b.fused_attention(i) : b.attention(i, true, true);
    b.norm(blk(i, "attn_output_norm"), {b.width}, true);
    nomic ? b.gated_mlp(i) : b.plain_mlp(i, true);
    b.norm(blk(i, "layer_output_norm"), {b.width}, true);
  }
}

constexpr auto kNothing = [](int64_t) {};

const Variant kVariants[] = {
    {"llama", "llama", [](Builder& b) { fill_llama_like(b, false, false, 1e4f); }},
    {"llama-bias", "llama", [](Builder& b) { fill_llama_like(b, true, true, 5e5f, true); }},
    {"llama-linear", "llama",
     [](Builder& b) {
       b.set("rope.scaling.type", Value::string("linear"));
       b.set_float("rope.scaling.factor", 4.0f);
       fill_llama_like(b, false, false, 1e4f);
     }},
    {"llama-yarn", "llama",
     [](Builder& b) {
       b.set("rope.scaling.type", Value::string("yarn"));
       b.set_float("rope.scaling.factor", 4.0f);
       b.set_int("rope.scaling.original_context_length", 64);
       fill_llama_like(b, false, false, 1e4f);
     }},
    {"llama-rope-divisors", "llama",
     [](Builder& b) {
       fill_llama_like(b, false, false, 5e5f);
       b.vec("rope_freqs.weight", {b.head_dim / 2}, 4.0f, 3.0f);
     }},
    {"mixtral", "llama", fill_mixtral},
    {"mixtral-split", "llama",
     [](Builder& b) {
       fill_mixtral(b);
       b.split_experts();
     }},
    {"qwen2", "qwen2", [](Builder& b) { fill_llama_like(b, true, false, 1e6f, true); }},
    {"qwen2moe", "qwen2moe",
     [](Builder& b) {
       b.set_int("expert_feed_forward_length", b.expert_ff);
       b.set_int("expert_shared_feed_forward_length", 2 * b.expert_ff);
       fill_mixture(b, b.expert_ff, true, [&](int64_t i) {
         b.shared_expert(i, 2 * b.expert_ff);
         b.vec(blk(i, "ffn_gate_inp_shexp.weight"), {b.width}, 0.0f, 0.25f);
       });
     }},
    {"qwen3", "qwen3",
     [](Builder& b) {
       b.head_dim *= 2;
       fill_llama_like(b, false, false, 1e6f);
       for (int64_t i = 0; i < b.layers; ++i) b.head_norms(i, {b.head_dim}, {b.head_dim});
     }},
    {"qwen3moe", "qwen3moe",
     [](Builder& b) {
       b.head_dim *= 2;
       b.experts = 8;
       b.experts_used = 3;
       b.set_int("expert_feed_forward_length", b.expert_ff);
       fill_mixture(b, b.expert_ff, false,
                    [&](int64_t i) { b.head_norms(i, {b.head_dim}, {b.head_dim}); });
     }},
    {"gemma", "gemma",
     [](Builder& b) {
       b.kv_heads = 1;
       b.head_dim *= 2;
       fill_llama_like(b, false, false, 1e4f, true);
     }},
    {"gemma2", "gemma2",
     [](Builder& b) {
       b.set_float("attn_logit_softcapping", 5.0f);
       b.set_float("final_logit_softcapping", 6.0f);
       fill_gemma_post_norms(b, false, 3);
     }},
    {"gemma3", "gemma3",
     [](Builder& b) {
       b.set("rope.scaling.type", Value::string("linear"));
       b.set_float("rope.scaling.factor", 8.0f);
       fill_gemma_post_norms(b, true, 7);
     }},
    {"phi2", "phi2",
     [](Builder& b) {
       b.kv_heads = b.heads;
       b.common(false);
       b.rope(b.head_dim / 2);
       b.output(true, false, true);
       for (int64_t i = 0; i < b.layers; ++i) {
         b.norm(blk(i, "attn_norm"), {b.width}, true);
         b.attention(i, true, true);
         b.plain_mlp(i, true);
       }
     }},
    {"phi3", "phi3", fill_phi3},
    {"phi3-longrope", "phi3",
     [](Builder& b) {
       b.set_int("rope.scaling.original_context_length", 64);
       b.set_float("rope.scaling.attn_factor", 1.19f);
       b.set_int("attention.sliding_window", 2047);
       fill_phi3(b);
       b.vec("rope_factors_long.weight", {b.head_dim / 2}, 3.0f, 2.0f);
       b.vec("rope_factors_short.weight", {b.head_dim / 2}, 1.2f, 0.2f);
     }},
    {"gpt2", "gpt2",
     [](Builder& b) {
       b.kv_heads = b.heads;
       b.common(false);
       b.mat("position_embd.weight", {b.width, b.context});
       fill_gpt_like(b, true, true);
     }},
    {"gptneox", "gptneox",
     [](Builder& b) {
       b.kv_heads = b.heads;
       b.common(false);
       b.rope(b.head_dim / 4);
       b.set("use_parallel_residual", Value::boolean(true));
       fill_gpt_like(b, true, false);
     }},
    {"gptneox-sequential", "gptneox",
     [](Builder& b) {
       b.kv_heads = b.heads;
       b.common(false);
       b.rope(b.head_dim / 2);
       b.set("use_parallel_residual", Value::boolean(false));
       fill_gpt_like(b, true, false);
     }},
    {"falcon-7b", "falcon", [](Builder& b) { fill_falcon(b, 1, false); }},
    {"falcon-40b", "falcon", [](Builder& b) { fill_falcon(b, 2, true); }},
    {"starcoder2", "starcoder2",
     [](Builder& b) {
       b.common(false);
       b.rope(b.head_dim, 1e5f);
       fill_gpt_like(b, false, true);
     }},
    {"stablelm", "stablelm", [](Builder& b) { fill_stablelm(b, false); }},
    {"stablelm-12b", "stablelm", [](Builder& b) { fill_stablelm(b, true); }},
    {"command-r", "command-r", [](Builder& b) { fill_command_r(b, false); }},
    {"command-r-plus", "command-r", [](Builder& b) { fill_command_r(b, true); }},
    {"olmo2", "olmo2", [](Builder& b) { fill_olmo2(b, false); }},
    {"olmo3", "olmo2", [](Builder& b) { fill_olmo2(b, true); }},
    {"olmoe", "olmoe",
     [](Builder& b) {
       b.ff = b.expert_ff;
       b.kv_heads = b.heads;
       fill_mixture(b, b.ff, false, [&](int64_t i) {
         b.head_norms(i, {b.heads * b.head_dim}, {b.heads * b.head_dim});
       });
     }},
    {"granite", "granite",
     [](Builder& b) {
       set_granite_scales(b);
       fill_llama_like(b, false, false, 1e4f, true);
     }},
    {"granitemoe", "granitemoe",
     [](Builder& b) {
       set_granite_scales(b);
       b.ff = b.expert_ff;
       fill_mixture(b, b.ff, false, kNothing);
     }},
    {"granitemoe-shared", "granitemoe",
     [](Builder& b) {
       set_granite_scales(b);
       b.ff = b.expert_ff;
       b.set_int("expert_shared_feed_forward_length", 2 * b.expert_ff);
       fill_mixture(b, b.ff, false, [&](int64_t i) { b.shared_expert(i, 2 * b.expert_ff); });
     }},
    {"smollm3", "smollm3",
     [](Builder& b) {
       b.layers = 5;
       fill_llama_like(b, false, false, 5e6f, true);
     }},
    {"gpt-oss", "gpt-oss", fill_gpt_oss},
    {"bloom", "bloom",
     [](Builder& b) {
       b.kv_heads = b.heads;
       b.common(false);
       b.norm("token_embd_norm", {b.width}, true);
       fill_gpt_like(b, true, true);
     }},
    {"mpt", "mpt", fill_mpt},
    {"bert", "bert", [](Builder& b) { fill_bert(b, false); }},
    {"nomic-bert", "nomic-bert", [](Builder& b) { fill_bert(b, true); }},
};

}  // namespace

std::vector<std::string> random_model_variants() {
  std::vector<std::string> names;
  for (const Variant& v : kVariants) names.emplace_back(v.name);
  return names;
}

gguf::File random_model(std::string_view variant, kernels::TensorType type, uint64_t seed,
                        Shape shape) {
  for (const Variant& v : kVariants) {
    if (v.name != variant) continue;
    Builder builder(std::string(v.architecture), type, seed, shape);
    v.fill(builder);
    return builder.build("random-" + std::string(variant));
  }
  GEIST_CHECK(false);
}

}  // namespace geist::testing
