#include "model/pass_cost.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "model/weights.h"

namespace geist::model {
namespace {

// How many of `count` experts at least one of `tokens` chooses, when each chooses `used` at random.
double expected_experts(double count, double used, int64_t tokens) {
  double untouched = 1.0;
  for (int64_t t = 0; t < tokens && untouched > 1e-6; ++t) untouched *= 1.0 - used / count;
  return count * (1.0 - untouched);
}

void add_products(const gguf::Tensor& tensor, double share_of_weights, PassCost& cost,
                  double tokens) {
  const double ops = 2.0 * static_cast<double>(tensor.elements()) * share_of_weights * tokens;
  const bool float_weights = tensor.type == kernels::TensorType::kF32 ||
                             tensor.type == kernels::TensorType::kF16 ||
                             tensor.type == kernels::TensorType::kBF16;
  (float_weights ? cost.float_ops : cost.int8_ops) += ops;
}

// Of the last layer, all but keys and values is computed for the tokens whose logits are wanted.
bool is_for_outputs(std::string_view name, const std::string& last_layer) {
  return name.starts_with(last_layer) && name.find("attn_k") == std::string_view::npos &&
         name.find("attn_v") == std::string_view::npos &&
         name.find("attn_qkv") == std::string_view::npos;
}

void add_weights(const Model& model, const PassWork& work, PassCost& cost) {
  const int64_t all = work.tokens * work.sequences;
  const ExpertConfig& expert = model.config().expert;
  const std::string last_layer = block_name(model.config().block_count - 1, "");
  const bool tied = model.file().find("output.weight") == nullptr;
  for (const gguf::Tensor& tensor : model.file().tensors()) {
    const auto size = static_cast<double>(tensor.data.size());
    const std::string_view name = tensor.name;
    const int64_t computed = is_for_outputs(name, last_layer) ? work.sequences : all;
    if (name == "token_embd.weight" || name == "position_embd.weight" ||
        name == "token_types.weight") {
      // A look-up reads a row a token; a tied table is the output head too.
      if (name == "token_embd.weight" && tied && model.config().has_logits) {
        cost.weight_bytes += size;
        add_products(tensor, 1.0, cost, static_cast<double>(work.sequences));
      } else {
        cost.weight_bytes += size / static_cast<double>(tensor.rows()) * static_cast<double>(all);
      }
    } else if (name == "output.weight") {
      cost.weight_bytes += size;
      add_products(tensor, 1.0, cost, static_cast<double>(work.sequences));
    } else if (name.find("_exps.") != std::string_view::npos && expert.count > 0) {
      const double count = expert.count, used = expert.used;
      cost.weight_bytes += size * expected_experts(count, used, computed) / count;
      add_products(tensor, used / count, cost, static_cast<double>(computed));
    } else {
      cost.weight_bytes += size;
      if (tensor.dims.size() > 1) add_products(tensor, 1.0, cost, static_cast<double>(computed));
    }
  }
}

void add_attention(const Config& config, const PassWork& work, KvType kv_type, PassCost& cost) {
  const KvLayout& layout = config.kv_layout(kv_type);
  const int64_t last = work.depth + work.tokens;
  const double dims =
      static_cast<double>(config.head_count) * (config.key_length + config.value_length);
  for (size_t i = 0; i < layout.layers.size(); ++i) {
    const KvLayout::Layer& layer = layout.layers[i];
    const int64_t first = i + 1 == layout.layers.size() && config.causal ? last - 1 : work.depth;
    const int64_t window = layer.window && config.sliding_window > 0 ? config.sliding_window : last;
    double visible = 0;  // keys, of all queries of a sequence
    for (int64_t p = first; p < last; ++p)
      visible += static_cast<double>(config.causal ? std::min(p + 1, window) : last);
    const int64_t keys = std::min(last, window + last - first - 1);
    cost.float_ops += 2.0 * dims * visible * static_cast<double>(work.sequences);
    const double token_bytes = static_cast<double>(config.head_count_kv) *
                               static_cast<double>(kernels::kv_block(layout.shape).bytes) /
                               kernels::kPageTokens;
    cost.kv_bytes += token_bytes * static_cast<double>(keys * work.sequences);
  }
}

}  // namespace

double PassCost::seconds_at_least(const kernels::MachineLimits& limits) const {
  if (limits.read_bytes_per_s <= 0 || limits.float_ops_per_s <= 0 || limits.int8_ops_per_s <= 0)
    return 0;
  const double computing = int8_ops / limits.int8_ops_per_s + float_ops / limits.float_ops_per_s;
  return std::max(bytes() / limits.read_bytes_per_s, computing);
}

PassCost pass_cost(const Model& model, const PassWork& work, KvType kv_type) {
  PassCost cost;
  add_weights(model, work, cost);
  add_attention(model.config(), work, kv_type, cost);
  return cost;
}

}  // namespace geist::model
