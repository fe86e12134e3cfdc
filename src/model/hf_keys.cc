// Numbers of config.json that every family has, as GGUF keys; RoPE and its extensions among them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/checked.h"
#include "kernels/math.h"
#include "model/hf_arch.h"

namespace geist::model {
namespace {

constexpr double kPi = 3.14159265358979323846;

// The dictionary about RoPE: older configs have rope_scaling beside rope_theta, newer ones
// rope_parameters with all.
std::optional<HfConfig> rope_object(const HfConfig& config) {
  auto object = config.object({"rope_parameters", "rope_scaling"});
  // gemma3 of newer configs: one dictionary for each kind of layer.
  if (object && object->has("full_attention")) return object->object({"full_attention"});
  return object;
}

// Divisors of the RoPE frequencies, Llama 3.1 style: short waves stay, long ones are stretched by
// `factor`, those between are blended.
std::vector<float> llama3_divisors(const HfConfig& rope, double base, int64_t dims,
                                   int64_t context) {
  const double factor = rope.number({"factor"}).value_or(8.0);
  const double low = rope.number({"low_freq_factor"}).value_or(1.0);
  const double high = rope.number({"high_freq_factor"}).value_or(4.0);
  const double original =
      static_cast<double>(rope.integer({"original_max_position_embeddings"}).value_or(context));
  std::vector<float> divisors;
  for (int64_t i = 0; i < dims; i += 2) {
    const double wave =
        2.0 * kPi * kernels::det_pow(base, static_cast<double>(i) / static_cast<double>(dims));
    double divisor = 1.0;
    if (wave > original / low) {
      divisor = factor;
    } else if (wave >= original / high) {
      const double smooth = (original / wave - low) / (high - low);
      divisor = 1.0 / ((1.0 - smooth) / factor + smooth);
    }
    divisors.push_back(static_cast<float>(divisor));
  }
  return divisors;
}

Status write_long_rope(const HfConfig& config, const HfConfig& rope, const HfShape& shape,
                       int64_t dims, Keys& keys, std::vector<ConfigTensor>& tensors) {
  auto original = config.integer({"original_max_position_embeddings"});
  if (!original) original = rope.integer({"original_max_position_embeddings"});
  const auto longs = rope.numbers({"long_factor"}), shorts = rope.numbers({"short_factor"});
  const auto count = static_cast<size_t>(dims / 2);
  if (!original || *original < 2 || !longs || !shorts || longs->size() != count ||
      shorts->size() != count)
    return errorf(
        "%s: longrope needs original_max_position_embeddings and %zu long and short factors",
        config.file().c_str(), count);
  keys.integer("rope.scaling.original_context_length", original);
  const double scale = static_cast<double>(shape.context) / static_cast<double>(*original);
  auto attention = rope.number({"attention_factor"});
  if (!attention)
    attention = scale <= 1.0
                    ? 1.0
                    : std::sqrt(1.0 + kernels::det_log(scale) /
                                          kernels::det_log(static_cast<double>(*original)));
  keys.number("rope.scaling.attn_factor", attention);
  tensors.push_back({"rope_factors_long.weight", {longs->begin(), longs->end()}});
  tensors.push_back({"rope_factors_short.weight", {shorts->begin(), shorts->end()}});
  return {};
}

Status write_rope_scaling(const HfConfig& config, const HfShape& shape, double base, int64_t dims,
                          Keys& keys, std::vector<ConfigTensor>& tensors) {
  const auto rope = rope_object(config);
  if (!rope) return {};
  const std::string type = rope->string({"rope_type", "type"}).value_or("default");
  if (type == "default" || type == "none" || type == "mrope") return {};
  if (type == "longrope" || type == "su")
    return write_long_rope(config, *rope, shape, dims, keys, tensors);
  if (type == "llama3") {
    tensors.push_back({"rope_freqs.weight", llama3_divisors(*rope, base, dims, shape.context)});
    return {};
  }
  if (type != "linear" && type != "yarn")
    return errorf(
        "%s: RoPE scaling '%.32s' is not supported (linear, yarn, llama3 and longrope are)",
        config.file().c_str(), type.c_str());
  keys.string("rope.scaling.type", type);
  keys.number("rope.scaling.factor", rope->number({"factor"}));
  if (type == "linear") return {};
  keys.integer("rope.scaling.original_context_length",
               rope->integer({"original_max_position_embeddings"}));
  keys.number("rope.scaling.yarn_beta_fast", rope->number({"beta_fast"}));
  keys.number("rope.scaling.yarn_beta_slow", rope->number({"beta_slow"}));
  return {};
}

Status write_rope(const HfConfig& config, const HfShape& shape, Keys& keys,
                  std::vector<ConfigTensor>& tensors) {
  auto base = config.number({"rope_theta", "rotary_emb_base"});
  auto part =
      config.number({"partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_emb_fraction"});
  if (const auto rope = rope_object(config)) {
    if (!base) base = rope->number({"rope_theta"});
    if (!part) part = rope->number({"partial_rotary_factor"});
  }
  if (base && !(*base > 1.0 && *base < 1e12))
    return errorf("%s: rope_theta is %g, it must be above 1", config.file().c_str(), *base);
  if (part && !(*part > 0.0 && *part <= 1.0))
    return errorf("%s: the rotated part of a head is %g, it must be in (0, 1]",
                  config.file().c_str(), *part);
  const auto dims = static_cast<int64_t>(part.value_or(1.0) * static_cast<double>(shape.head_dim));
  keys.number("rope.freq_base", base.value_or(10000.0));
  keys.integer("rope.dimension_count", dims);
  return write_rope_scaling(config, shape, base.value_or(10000.0), dims, keys, tensors);
}

Status require_range(const HfConfig& config, const char* what, int64_t value, int64_t max) {
  if (value >= 1 && value <= max) return {};
  return errorf("%s: %s is %lld, it must be from 1 to %lld", config.file().c_str(), what,
                static_cast<long long>(value), static_cast<long long>(max));
}

}  // namespace

void Keys::integer(std::string_view name, std::optional<int64_t> value) {
  if (!value) return;
  if (*value < 0 || *value > std::numeric_limits<uint32_t>::max()) {
    if (status_.ok())
      status_ = errorf("%s%.64s: the value %lld does not fit", prefix_.c_str(),
                       std::string(name).c_str(), static_cast<long long>(*value));
    return;
  }
  metadata_->insert_or_assign(prefix_ + std::string(name),
                              gguf::Value::u32(static_cast<uint32_t>(*value)));
}

void Keys::number(std::string_view name, std::optional<double> value) {
  if (value)
    metadata_->insert_or_assign(prefix_ + std::string(name),
                                gguf::Value::f32(static_cast<float>(*value)));
}

void Keys::boolean(std::string_view name, std::optional<bool> value) {
  if (value) metadata_->insert_or_assign(prefix_ + std::string(name), gguf::Value::boolean(*value));
}

void Keys::string(std::string_view name, std::optional<std::string> value) {
  if (value)
    metadata_->insert_or_assign(prefix_ + std::string(name),
                                gguf::Value::string(std::move(*value)));
}

Result<HfShape> read_hf_shape(const HfConfig& config) {
  HfShape shape;
  shape.hidden = config.integer({"hidden_size", "n_embd", "n_embed", "d_model"}).value_or(0);
  shape.blocks = config.integer({"num_hidden_layers", "n_layer", "n_layers"}).value_or(0);
  shape.heads = config.integer({"num_attention_heads", "n_head", "n_heads"}).value_or(0);
  shape.kv_heads =
      config.integer({"num_key_value_heads", "num_kv_heads", "n_head_kv"}).value_or(shape.heads);
  shape.context =
      config
          .integer({"max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length",
                    "max_seq_len", "seq_length", "model_max_length"})
          .value_or(2048);
  GEIST_TRY(config.status());
  GEIST_TRY(require_range(config, "hidden_size", shape.hidden, 1 << 20));
  GEIST_TRY(require_range(config, "num_hidden_layers", shape.blocks, 4096));
  GEIST_TRY(require_range(config, "num_attention_heads", shape.heads, 1 << 16));
  GEIST_TRY(require_range(config, "num_key_value_heads", shape.kv_heads, shape.heads));
  GEIST_TRY(require_range(config, "max_position_embeddings", shape.context, int64_t{1} << 31));
  shape.head_dim = config.integer({"head_dim"}).value_or(shape.hidden / shape.heads);
  shape.feed_forward = config.integer({"intermediate_size", "n_inner", "ffn_hidden_size"})
                           .value_or(4 * shape.hidden);
  GEIST_TRY(config.status());
  GEIST_TRY(require_range(config, "head_dim", shape.head_dim, 1 << 16));
  GEIST_TRY(require_range(config, "intermediate_size", shape.feed_forward, 1 << 24));
  return shape;
}

Status write_common_keys(const HfArch& arch, const HfConfig& config, const HfShape& shape,
                         Keys& keys, std::vector<ConfigTensor>& tensors) {
  keys.metadata().insert_or_assign("general.architecture",
                                   gguf::Value::string(std::string(arch.gguf)));
  keys.integer("context_length", shape.context);
  keys.integer("embedding_length", shape.hidden);
  keys.integer("block_count", shape.blocks);
  keys.integer("feed_forward_length", shape.feed_forward);
  keys.integer("attention.head_count", shape.heads);
  keys.integer("attention.head_count_kv", shape.kv_heads);
  if (shape.head_dim * shape.heads != shape.hidden) {
    keys.integer("attention.key_length", shape.head_dim);
    keys.integer("attention.value_length", shape.head_dim);
  }
  if (arch.rms_norm) {
    keys.number("attention.layer_norm_rms_epsilon", config.number({"rms_norm_eps"}).value_or(1e-6));
  } else {
    keys.number(
        "attention.layer_norm_epsilon",
        config.number({"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"}).value_or(1e-5));
  }
  if (arch.rotates) GEIST_TRY(write_rope(config, shape, keys, tensors));
  return config.status();
}

}  // namespace geist::model
