// One table of tensor names for each family, and a function for what only it has. A new family is a
// table, at most one function, and a line in kArchs.
#include "model/hf_arch.h"

#include <cmath>

namespace geist::model {
namespace {

using Op = TensorOp;
using Rule = TensorRule;

// ---- tables
// ---------------------------------------------------------------------------------------------------

// Decoders in the manner of llama.
constexpr Rule kDecoder[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
    {"model.layers.#.input_layernorm", "blk.#.attn_norm"},
    {"model.layers.#.self_attn.v_proj", "blk.#.attn_v"},
    {"model.layers.#.self_attn.o_proj", "blk.#.attn_output"},
    {"model.layers.#.mlp.gate_proj", "blk.#.ffn_gate"},
    {"model.layers.#.mlp.up_proj", "blk.#.ffn_up"},
    {"model.layers.#.mlp.down_proj", "blk.#.ffn_down"},
};
constexpr Rule kPairs[] = {
    // GGUF's llama rotates adjacent elements, transformers the two halves
    {"model.layers.#.self_attn.q_proj", "blk.#.attn_q", Op::kRopeQ},
    {"model.layers.#.self_attn.k_proj", "blk.#.attn_k", Op::kRopeK},
    {"model.layers.#.post_attention_layernorm", "blk.#.ffn_norm"},
    {"model.layers.#.block_sparse_moe.gate", "blk.#.ffn_gate_inp", Op::kF32},
    {"model.layers.#.block_sparse_moe.experts.#.w1", "blk.#.ffn_gate_exps", Op::kExpert},
    {"model.layers.#.block_sparse_moe.experts.#.w2", "blk.#.ffn_down_exps", Op::kExpert},
    {"model.layers.#.block_sparse_moe.experts.#.w3", "blk.#.ffn_up_exps", Op::kExpert},
    {"model.layers.#.block_sparse_moe.router.layer", "blk.#.ffn_gate_inp", Op::kF32},
    {"model.layers.#.block_sparse_moe.input_linear", "blk.#.ffn_gate_exps", Op::kExpertGate},
    {"model.layers.#.block_sparse_moe.input_linear", "blk.#.ffn_up_exps", Op::kExpertUp},
    {"model.layers.#.block_sparse_moe.output_linear", "blk.#.ffn_down_exps"},
};
constexpr Rule kHalves[] = {
    {"model.layers.#.self_attn.q_proj", "blk.#.attn_q"},
    {"model.layers.#.self_attn.k_proj", "blk.#.attn_k"},
    {"model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm"},
    {"model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm"},
};
constexpr Rule kSecondNorm[] = {
    {"model.layers.#.post_attention_layernorm", "blk.#.ffn_norm"},
    {"model.layers.#.mlp.gate", "blk.#.ffn_gate_inp", Op::kF32},
    {"model.layers.#.mlp.experts.#.gate_proj", "blk.#.ffn_gate_exps", Op::kExpert},
    {"model.layers.#.mlp.experts.#.up_proj", "blk.#.ffn_up_exps", Op::kExpert},
    {"model.layers.#.mlp.experts.#.down_proj", "blk.#.ffn_down_exps", Op::kExpert},
    {"model.layers.#.mlp.shared_expert.gate_proj", "blk.#.ffn_gate_shexp"},
    {"model.layers.#.mlp.shared_expert.up_proj", "blk.#.ffn_up_shexp"},
    {"model.layers.#.mlp.shared_expert.down_proj", "blk.#.ffn_down_shexp"},
    {"model.layers.#.mlp.shared_expert_gate", "blk.#.ffn_gate_inp_shexp", Op::kF32},
    {"model.layers.#.self_attn.q_layernorm.norms.#", "blk.#.attn_q_norm", Op::kHeadStack},
    {"model.layers.#.self_attn.k_layernorm.norms.#", "blk.#.attn_k_norm", Op::kHeadStack},
    {"model.layers.#.mlp.c_fc", "blk.#.ffn_up"},
    {"model.layers.#.mlp.c_proj", "blk.#.ffn_down"},
};
constexpr Rule kOlmo2[] = {
    {"model.layers.#.post_attention_layernorm", "blk.#.post_attention_norm"},
    {"model.layers.#.post_feedforward_layernorm", "blk.#.post_ffw_norm"},
};
constexpr Rule kGemmaMatrices[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.layers.#.self_attn.q_proj", "blk.#.attn_q"},
    {"model.layers.#.self_attn.k_proj", "blk.#.attn_k"},
    {"model.layers.#.self_attn.v_proj", "blk.#.attn_v"},
    {"model.layers.#.self_attn.o_proj", "blk.#.attn_output"},
    {"model.layers.#.mlp.gate_proj", "blk.#.ffn_gate"},
    {"model.layers.#.mlp.up_proj", "blk.#.ffn_up"},
    {"model.layers.#.mlp.down_proj", "blk.#.ffn_down"},
    {"model.norm", "output_norm", Op::kAddOne},
    {"model.layers.#.input_layernorm", "blk.#.attn_norm", Op::kAddOne},
};
constexpr Rule kGemmaNorms[] = {
    {"model.layers.#.post_attention_layernorm", "blk.#.ffn_norm", Op::kAddOne},
};
constexpr Rule kGemma2Norms[] = {
    {"model.layers.#.post_attention_layernorm", "blk.#.post_attention_norm", Op::kAddOne},
    {"model.layers.#.pre_feedforward_layernorm", "blk.#.ffn_norm", Op::kAddOne},
    {"model.layers.#.post_feedforward_layernorm", "blk.#.post_ffw_norm", Op::kAddOne},
    {"model.layers.#.self_attn.q_norm", "blk.#.attn_q_norm", Op::kAddOne},
    {"model.layers.#.self_attn.k_norm", "blk.#.attn_k_norm", Op::kAddOne},
};
constexpr Rule kPhi3[] = {
    {"model.layers.#.self_attn.qkv_proj", "blk.#.attn_qkv"},
    {"model.layers.#.mlp.gate_up_proj", "blk.#.ffn_up"},
    {"model.layers.#.post_attention_layernorm", "blk.#.ffn_norm"},
};
constexpr Rule kPhi2[] = {
    {"model.final_layernorm", "output_norm"},
    {"model.layers.#.self_attn.dense", "blk.#.attn_output"},
    {"model.layers.#.mlp.fc1", "blk.#.ffn_up"},
    {"model.layers.#.mlp.fc2", "blk.#.ffn_down"},
};
constexpr Rule kGpt2[] = {
    {"transformer.wte", "token_embd"},
    {"transformer.wpe", "position_embd", Op::kF32},
    {"transformer.ln_f", "output_norm"},
    {"lm_head", "output"},
    {"transformer.h.#.ln_1", "blk.#.attn_norm"},
    {"transformer.h.#.ln_2", "blk.#.ffn_norm"},
    {"transformer.h.#.attn.c_attn", "blk.#.attn_qkv", Op::kTranspose},
    {"transformer.h.#.attn.c_proj", "blk.#.attn_output", Op::kTranspose},
    {"transformer.h.#.mlp.c_fc", "blk.#.ffn_up", Op::kTranspose},
    {"transformer.h.#.mlp.c_proj", "blk.#.ffn_down", Op::kTranspose},
};
constexpr Rule kGptNeoX[] = {
    {"gpt_neox.embed_in", "token_embd"},
    {"gpt_neox.final_layer_norm", "output_norm"},
    {"embed_out", "output"},
    {"gpt_neox.layers.#.input_layernorm", "blk.#.attn_norm"},
    {"gpt_neox.layers.#.post_attention_layernorm", "blk.#.ffn_norm"},
    {"gpt_neox.layers.#.attention.query_key_value", "blk.#.attn_qkv", Op::kQkvByHead},
    {"gpt_neox.layers.#.attention.dense", "blk.#.attn_output"},
    {"gpt_neox.layers.#.mlp.dense_h_to_4h", "blk.#.ffn_up"},
    {"gpt_neox.layers.#.mlp.dense_4h_to_h", "blk.#.ffn_down"},
};
constexpr Rule kFalconOrBloom[] = {
    {"transformer.word_embeddings", "token_embd"},
    {"transformer.word_embeddings_layernorm", "token_embd_norm"},
    {"transformer.ln_f", "output_norm"},
    {"lm_head", "output"},
    {"transformer.h.#.input_layernorm", "blk.#.attn_norm"},
    {"transformer.h.#.self_attention.dense", "blk.#.attn_output"},
    {"transformer.h.#.mlp.dense_h_to_4h", "blk.#.ffn_up"},
    {"transformer.h.#.mlp.dense_4h_to_h", "blk.#.ffn_down"},
};
constexpr Rule kFalcon[] = {
    {"transformer.h.#.self_attention.query_key_value", "blk.#.attn_qkv", Op::kQkvByGroup},
    {"transformer.h.#.ln_mlp", "blk.#.attn_norm"},
    {"transformer.h.#.ln_attn", "blk.#.attn_norm_2"},
};
constexpr Rule kBloom[] = {
    {"transformer.h.#.self_attention.query_key_value", "blk.#.attn_qkv", Op::kQkvByHead},
    {"transformer.h.#.post_attention_layernorm", "blk.#.ffn_norm"},
};
constexpr Rule kMpt[] = {
    {"transformer.wte", "token_embd"},
    {"transformer.norm_f", "output_norm"},
    {"lm_head", "output"},
    {"transformer.blocks.#.norm_1", "blk.#.attn_norm"},
    {"transformer.blocks.#.norm_2", "blk.#.ffn_norm"},
    {"transformer.blocks.#.attn.Wqkv", "blk.#.attn_qkv"},
    {"transformer.blocks.#.attn.out_proj", "blk.#.attn_output"},
    {"transformer.blocks.#.ffn.up_proj", "blk.#.ffn_up"},
    {"transformer.blocks.#.ffn.down_proj", "blk.#.ffn_down"},
};
constexpr Rule kBert[] = {
    {"bert.embeddings.word_embeddings", "token_embd"},
    {"bert.embeddings.position_embeddings", "position_embd", Op::kF32},
    {"bert.embeddings.token_type_embeddings", "token_types", Op::kF32},
    {"bert.embeddings.LayerNorm", "token_embd_norm"},
    {"bert.encoder.layer.#.attention.self.query", "blk.#.attn_q"},
    {"bert.encoder.layer.#.attention.self.key", "blk.#.attn_k"},
    {"bert.encoder.layer.#.attention.self.value", "blk.#.attn_v"},
    {"bert.encoder.layer.#.attention.output.dense", "blk.#.attn_output"},
    {"bert.encoder.layer.#.attention.output.LayerNorm", "blk.#.attn_output_norm"},
    {"bert.encoder.layer.#.intermediate.dense", "blk.#.ffn_up"},
    {"bert.encoder.layer.#.output.dense", "blk.#.ffn_down"},
    {"bert.encoder.layer.#.output.LayerNorm", "blk.#.layer_output_norm"},
};
constexpr Rule kNomicBert[] = {
    {"embeddings.word_embeddings", "token_embd"},
    {"embeddings.token_type_embeddings", "token_types", Op::kF32},
    {"emb_ln", "token_embd_norm"},
    {"encoder.layers.#.attn.Wqkv", "blk.#.attn_qkv"},
    {"encoder.layers.#.attn.out_proj", "blk.#.attn_output"},
    {"encoder.layers.#.norm1", "blk.#.attn_output_norm"},
    {"encoder.layers.#.norm2", "blk.#.layer_output_norm"},
    {"encoder.layers.#.mlp.fc11", "blk.#.ffn_up"},
    {"encoder.layers.#.mlp.fc12", "blk.#.ffn_gate"},
    {"encoder.layers.#.mlp.fc2", "blk.#.ffn_down"},
};

// ---- what only one family has
// -----------------------------------------------------------------------------------

using Tensors = std::vector<ConfigTensor>;

// An error unless the option has the only value that the GGUF architecture stands for.
Status require_option(const HfConfig& config, const char* name, bool value, bool when_absent) {
  if (config.boolean({name}).value_or(when_absent) == value) return {};
  return errorf("%s: models with \"%s\" %s are not supported", config.file().c_str(), name,
                value ? "off" : "on");
}

Status extend_experts(const HfConfig& config, Keys& keys) {
  keys.integer("expert_count", config.integer({"num_local_experts", "num_experts"}));
  keys.integer("expert_used_count", config.integer({"num_experts_per_tok"}));
  return {};
}

Status extend_mixtral(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  return extend_experts(config, keys);
}

Status extend_qwen_moe(const HfConfig& config, bool renormalised, Keys& keys) {
  GEIST_TRY(require_option(config, "norm_topk_prob", renormalised, false));
  if (config.integer({"decoder_sparse_step"}).value_or(1) != 1 ||
      !config.integers({"mlp_only_layers"}).empty())
    return errorf("%s: models with dense blocks between blocks of experts are not supported",
                  config.file().c_str());
  keys.integer("expert_feed_forward_length", config.integer({"moe_intermediate_size"}));
  keys.integer("expert_shared_feed_forward_length",
               config.integer({"shared_expert_intermediate_size"}));
  return extend_experts(config, keys);
}

Status extend_qwen2moe(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  return extend_qwen_moe(config, false, keys);
}

Status extend_qwen3moe(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  return extend_qwen_moe(config, true, keys);
}

Status extend_olmoe(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  GEIST_TRY(require_option(config, "norm_topk_prob", false, false));
  keys.number("attention.clamp_kqv", config.number({"clip_qkv"}));
  return extend_experts(config, keys);
}

// Gemma divides q . k by the square root of query_pre_attn_scalar; a key is needed only where that
// is not the head.
Status extend_gemma(const HfConfig& config, HfShape& shape, Keys& keys, Tensors&) {
  keys.integer("attention.key_length", shape.head_dim);
  keys.integer("attention.value_length", shape.head_dim);
  const auto scalar = config.number({"query_pre_attn_scalar"});
  if (scalar && *scalar > 0.0 && *scalar != static_cast<double>(shape.head_dim))
    keys.number("attention.scale", 1.0 / std::sqrt(*scalar));
  keys.number("attn_logit_softcapping", config.number({"attn_logit_softcapping"}));
  keys.number("final_logit_softcapping", config.number({"final_logit_softcapping"}));
  return {};
}

Status extend_gemma2(const HfConfig& config, HfShape& shape, Keys& keys, Tensors& tensors) {
  keys.integer("attention.sliding_window", config.integer({"sliding_window"}).value_or(4096));
  return extend_gemma(config, shape, keys, tensors);
}

Status extend_gemma3(const HfConfig& config, HfShape& shape, Keys& keys, Tensors& tensors) {
  keys.integer("attention.sliding_window", config.integer({"sliding_window"}));
  keys.number("rope.freq_base", config.number({"rope_theta"}).value_or(1e6));
  auto local = config.number({"rope_local_base_freq"});
  if (const auto rope = config.object({"rope_parameters"})) {
    const auto full = rope->object({"full_attention"}),
               sliding = rope->object({"sliding_attention"});
    if (full) keys.number("rope.freq_base", full->number({"rope_theta"}).value_or(1e6));
    if (sliding && !local) local = sliding->number({"rope_theta"});
  }
  keys.number("rope.freq_base_swa", local);
  if (const auto layers = config.strings({"layer_types"})) {
    std::vector<bool> pattern;
    for (const std::string& layer : *layers) pattern.push_back(layer == "sliding_attention");
    gguf::Value value{gguf::ValueType::kArray, gguf::ValueType::kBool, std::move(pattern)};
    keys.metadata().insert_or_assign("gemma3.attention.sliding_window_pattern", std::move(value));
  } else {
    keys.integer("attention.sliding_window_pattern", config.integer({"sliding_window_pattern"}));
  }
  return extend_gemma(config, shape, keys, tensors);
}

Status extend_phi3(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  keys.integer("attention.sliding_window", config.integer({"sliding_window"}));
  return {};
}

Status extend_parallel(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  keys.boolean("use_parallel_residual", config.boolean({"use_parallel_residual"}).value_or(true));
  return {};
}

Status extend_stablelm(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  keys.boolean("use_parallel_residual", config.boolean({"use_parallel_residual"}).value_or(false));
  return {};
}

Status extend_falcon(const HfConfig& config, HfShape& shape, Keys& keys, Tensors&) {
  GEIST_TRY(require_option(config, "alibi", false, false));
  if (!config.boolean({"new_decoder_architecture"}).value_or(false))
    shape.kv_heads = config.boolean({"multi_query"}).value_or(true) ? 1 : shape.heads;
  keys.integer("attention.head_count_kv", shape.kv_heads);
  return require_option(config, "parallel_attn", true, true);
}

Status extend_bloom(const HfConfig& config, HfShape&, Keys&, Tensors&) {
  return require_option(config, "apply_residual_connection_post_layernorm", false, false);
}

Status extend_mpt(const HfConfig& config, HfShape& shape, Keys& keys, Tensors&) {
  const auto ratio = config.integer({"expansion_ratio"}).value_or(4);
  if (ratio < 1 || ratio > 64)
    return errorf("%s: expansion_ratio must be from 1 to 64", config.file().c_str());
  keys.integer("feed_forward_length", ratio * shape.hidden);
  const auto attention = config.object({"attn_config"});
  if (!attention || !attention->boolean({"alibi"}).value_or(false))
    return errorf("%s: MPT without ALiBi is not supported", config.file().c_str());
  keys.number("attention.max_alibi_bias", attention->number({"alibi_bias_max"}).value_or(8.0));
  keys.number("attention.clamp_kqv", attention->number({"clip_qkv"}));
  keys.integer("attention.head_count_kv", attention->integer({"kv_n_heads"}));
  return {};
}

Status extend_command_r(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  keys.number("logit_scale", config.number({"logit_scale"}).value_or(0.0625));
  return {};
}

Status extend_granite(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  keys.number("attention.scale", config.number({"attention_multiplier"}));
  keys.number("embedding_scale", config.number({"embedding_multiplier"}));
  keys.number("residual_scale", config.number({"residual_multiplier"}));
  keys.number("logit_scale", config.number({"logits_scaling"}));
  return extend_experts(config, keys);
}

// GGUF's smollm3 leaves RoPE out of every fourth block; the config could say otherwise.
Status extend_smollm3(const HfConfig& config, HfShape&, Keys&, Tensors&) {
  const std::vector<int64_t> rotates = config.integers({"no_rope_layers"});
  for (size_t i = 0; i < rotates.size(); ++i)
    if ((rotates[i] != 0) != ((i + 1) % 4 != 0))
      return errorf("%s: only every fourth block may go without RoPE, block %zu does not fit",
                    config.file().c_str(), i);
  return {};
}

Status extend_bert(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  const std::string kind = config.string({"position_embedding_type"}).value_or("absolute");
  if (kind != "absolute")
    return errorf("%s: position embeddings '%.32s' are not supported", config.file().c_str(),
                  kind.c_str());
  keys.number("attention.layer_norm_epsilon", config.number({"layer_norm_eps"}).value_or(1e-12));
  keys.boolean("attention.causal", false);
  return {};
}

Status extend_nomic_bert(const HfConfig& config, HfShape&, Keys& keys, Tensors&) {
  GEIST_TRY(require_option(config, "prenorm", false, false));
  if (config.string({"activation_function"}).value_or("swiglu") != "swiglu")
    return errorf("%s: only activation_function \"swiglu\" is supported", config.file().c_str());
  keys.boolean("attention.causal", false);
  return {};
}

// model_type, architecture, prefix, RMSNorm, RoPE, rules, function
constexpr HfArch kArchs[] = {
    {"llama", "llama", "", true, true, {kDecoder, kPairs}, nullptr},
    {"mistral", "llama", "", true, true, {kDecoder, kPairs}, nullptr},
    {"mixtral", "llama", "", true, true, {kDecoder, kPairs}, extend_mixtral},
    {"granite", "granite", "", true, true, {kDecoder, kPairs}, extend_granite},
    {"granitemoe", "granitemoe", "", true, true, {kDecoder, kPairs}, extend_granite},
    {"smollm3", "smollm3", "", true, true, {kDecoder, kPairs}, extend_smollm3},
    {"qwen2", "qwen2", "", true, true, {kDecoder, kHalves, kSecondNorm}, nullptr},
    {"qwen2_moe", "qwen2moe", "", true, true, {kDecoder, kHalves, kSecondNorm}, extend_qwen2moe},
    {"qwen3", "qwen3", "", true, true, {kDecoder, kHalves, kSecondNorm}, nullptr},
    {"qwen3_moe", "qwen3moe", "", true, true, {kDecoder, kHalves, kSecondNorm}, extend_qwen3moe},
    {"olmo2", "olmo2", "", true, true, {kDecoder, kHalves, kOlmo2}, nullptr},
    {"olmoe", "olmoe", "", true, true, {kDecoder, kHalves, kSecondNorm}, extend_olmoe},
    {"gemma", "gemma", "", true, true, {kGemmaMatrices, kGemmaNorms}, extend_gemma},
    {"gemma2", "gemma2", "", true, true, {kGemmaMatrices, kGemma2Norms}, extend_gemma2},
    {"gemma3_text", "gemma3", "", true, true, {kGemmaMatrices, kGemma2Norms}, extend_gemma3},
    {"gemma3", "gemma3", "", true, true, {kGemmaMatrices, kGemma2Norms}, extend_gemma3},
    {"phi3", "phi3", "", true, true, {kDecoder, kPhi3}, extend_phi3},
    {"phi", "phi2", "", false, true, {kDecoder, kHalves, kPhi2}, nullptr},
    {"stablelm", "stablelm", "", false, true, {kDecoder, kHalves, kSecondNorm}, extend_stablelm},
    {"starcoder2", "starcoder2", "", false, true, {kDecoder, kHalves, kSecondNorm}, nullptr},
    {"cohere", "command-r", "", false, true, {kDecoder, kHalves}, extend_command_r},
    {"gpt2", "gpt2", "transformer.", false, false, {kGpt2}, nullptr},
    {"gpt_neox", "gptneox", "", false, true, {kGptNeoX}, extend_parallel},
    {"falcon", "falcon", "transformer.", false, true, {kFalconOrBloom, kFalcon}, extend_falcon},
    {"bloom", "bloom", "transformer.", false, false, {kFalconOrBloom, kBloom}, extend_bloom},
    {"mpt", "mpt", "transformer.", false, false, {kMpt}, extend_mpt},
    {"bert", "bert", "bert.", false, false, {kBert}, extend_bert},
    {"nomic_bert", "nomic-bert", "", false, true, {kNomicBert}, extend_nomic_bert},
};

}  // namespace

const HfArch* find_hf_arch(std::string_view model_type) {
  for (const HfArch& arch : kArchs)
    if (arch.model_type == model_type) return &arch;
  return nullptr;
}

const HfArch* find_hf_arch_of_gguf(std::string_view architecture) {
  for (const HfArch& arch : kArchs)
    if (arch.gguf == architecture) return &arch;
  return nullptr;
}

std::string hf_arch_names() {
  std::string names;
  for (const HfArch& arch : kArchs)
    names += (names.empty() ? "" : ", ") + std::string(arch.model_type);
  return names;
}

}  // namespace geist::model
