#include "model/quantize_mix.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <numeric>
#include <string>

#include "base/check.h"

namespace geist::model {
namespace {

using kernels::TensorType;

constexpr FileTypeInfo kFileTypes[] = {
    {FileType::kF16, "F16", TensorType::kF16, "16 bits, half precision"},
    {FileType::kBF16, "BF16", TensorType::kBF16, "16 bits, the range of F32"},
    {FileType::kQ8_0, "Q8_0", TensorType::kQ8_0, "8.5 bits, as good as 16"},
    {FileType::kQ6_K, "Q6_K", TensorType::kQ6_K, "6.6 bits, hardly a loss"},
    {FileType::kQ5_K_M, "Q5_K_M", TensorType::kQ5_K, "5.7 bits, a small loss"},
    {FileType::kQ4_K_M, "Q4_K_M", TensorType::kQ4_K, "4.8 bits, the usual choice"},
    {FileType::kQ4_0, "Q4_0", TensorType::kQ4_0, "4.5 bits, the fastest"},
};

// What a tensor is for, as far as the convention tells them apart.
enum class Role {
  kOutput,
  kTokenEmbedding,
  kAttentionV,  // also fused q, k, v, and the compressed k and v of multi-head latent attention
  kAttentionK,
  kAttentionOutput,
  kFfnDown,
  kOther,
};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

Role role_of(std::string_view name) {
  if (name == "output.weight") return Role::kOutput;
  if (name == "token_embd.weight" || name == "per_layer_token_embd.weight") {
    return Role::kTokenEmbedding;
  }
  for (const std::string_view part : {"attn_qkv.weight", "attn_kv_b.weight", "attn_v.weight"}) {
    if (contains(name, part)) return Role::kAttentionV;
  }
  if (contains(name, "attn_k.weight")) return Role::kAttentionK;
  if (contains(name, "attn_output.weight")) return Role::kAttentionOutput;
  if (contains(name, "ffn_down")) return Role::kFfnDown;
  return Role::kOther;
}

// Small or sensitive matrices that keep the type they have.
constexpr std::string_view kKept[] = {
    "_norm.weight",
    "ffn_gate_inp.weight",
    "altup",
    "laurel",
    "per_layer_model_proj",
    "ssm_conv1d",
    "shortconv.conv.weight",
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    "attn_rel_b.weight",
};

bool may_be_quantized(const gguf::Tensor& tensor) {
  const std::string_view name = tensor.name;
  const bool matrix =
      std::any_of(tensor.dims.begin() + 1, tensor.dims.end(), [](int64_t dim) { return dim > 1; });
  if (!matrix || !name.ends_with("weight") || tensor.type == TensorType::kI32) return false;
  if (name == "position_embd.weight" || name == "token_types.weight") return false;
  return std::none_of(std::begin(kKept), std::end(kKept),
                      [&](std::string_view part) { return contains(name, part); });
}

// N of "blk.N."; -1 for tensors outside the blocks.
int64_t block_of(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  int64_t block = -1;
  if (name.starts_with(kPrefix)) {
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), block);
  }
  return block;
}

// The first and last eighth of the blocks, and every third between.
bool more_bits(int64_t block, int64_t blocks) {
  return block < blocks / 8 || block >= 7 * blocks / 8 || (block - blocks / 8) % 3 == 2;
}

TensorType type_that_fits(TensorType type, int64_t columns) {
  const auto fits = [&](TensorType t) { return kernels::row_bytes(t, columns).has_value(); };
  if (fits(type)) return type;
  TensorType smaller_blocks = TensorType::kF16;
  if (type == TensorType::kQ4_K) smaller_blocks = TensorType::kQ5_0;
  if (type == TensorType::kQ5_K) smaller_blocks = TensorType::kQ5_1;
  if (type == TensorType::kQ6_K) smaller_blocks = TensorType::kQ8_0;
  return fits(smaller_blocks) ? smaller_blocks : TensorType::kF16;
}

// The convention for quantised file types. Blocks must come in ascending order: of tensors with the
// same role the n-th counts as block n, unless there are experts.
class Mix {
 public:
  static Result<Mix> create(const gguf::Metadata& metadata, std::span<const gguf::Tensor> tensors,
                            FileType type);
  TensorType choose(const gguf::Tensor& tensor);

 private:
  TensorType choose_output(const gguf::Tensor& tensor) const;
  TensorType choose_attention_v();
  TensorType choose_ffn_down(const gguf::Tensor& tensor);

  FileType file_type_{};
  TensorType base_{};
  bool falcon_ = false, shared_values_70b_ = false, tied_ = true;
  int64_t block_count_ = 0, expert_count_ = 0;
  int64_t attention_v_count_ = 0, attention_v_seen_ = 0, ffn_down_seen_ = 0;
};

Result<int64_t> get_int_or(const gguf::Metadata& metadata, const std::string& key,
                           int64_t otherwise) {
  GEIST_ASSIGN(const auto value, gguf::get_int(metadata, key));
  return value.value_or(otherwise);
}

// Llama 2 and 3 70B (and the 72B of qwen2): 80 blocks whose values are an eighth the size of their
// queries, so that more bits for them cost little.
Result<bool> is_70b(const gguf::Metadata& metadata, const std::string& arch, int64_t block_count) {
  if (block_count != 80 || (arch != "llama" && arch != "qwen2")) return false;
  if (arch == "qwen2") return true;
  GEIST_ASSIGN(const int64_t heads, get_int_or(metadata, arch + ".attention.head_count", 0));
  GEIST_ASSIGN(const int64_t kv, get_int_or(metadata, arch + ".attention.head_count_kv", heads));
  return heads != kv;
}

Result<Mix> Mix::create(const gguf::Metadata& metadata, std::span<const gguf::Tensor> tensors,
                        FileType type) {
  Mix mix;
  mix.file_type_ = type;
  mix.base_ = file_type_info(type).base;
  GEIST_ASSIGN(const auto architecture, gguf::get_string(metadata, "general.architecture"));
  const std::string arch = architecture.value_or("");
  mix.falcon_ = arch == "falcon";
  GEIST_ASSIGN(mix.block_count_, get_int_or(metadata, arch + ".block_count", 0));
  GEIST_ASSIGN(mix.expert_count_, get_int_or(metadata, arch + ".expert_count", 0));
  GEIST_ASSIGN(mix.shared_values_70b_, is_70b(metadata, arch, mix.block_count_));
  for (const gguf::Tensor& tensor : tensors) {
    mix.attention_v_count_ += role_of(tensor.name) == Role::kAttentionV;
    mix.tied_ = mix.tied_ && role_of(tensor.name) != Role::kOutput;
  }
  return mix;
}

TensorType Mix::choose_output(const gguf::Tensor& tensor) const {
  if (falcon_ || !kernels::row_bytes(base_, tensor.columns())) return TensorType::kQ8_0;
  return base_ == TensorType::kQ8_0 ? base_ : TensorType::kQ6_K;
}

TensorType Mix::choose_attention_v() {
  const bool medium = file_type_ == FileType::kQ4_K_M || file_type_ == FileType::kQ5_K_M;
  TensorType type = base_;
  if (medium && more_bits(attention_v_seen_, attention_v_count_)) type = TensorType::kQ6_K;
  if (shared_values_70b_ && type == TensorType::kQ4_K) type = TensorType::kQ5_K;
  if (expert_count_ == 8) type = TensorType::kQ8_0;
  ++attention_v_seen_;
  return type;
}

TensorType Mix::choose_ffn_down(const gguf::Tensor& tensor) {
  const int64_t block = expert_count_ > 1 ? block_of(tensor.name) : ffn_down_seen_;
  ++ffn_down_seen_;
  const bool more = more_bits(block, block_count_);
  if (file_type_ == FileType::kQ5_K_M) return more ? TensorType::kQ6_K : base_;
  if (file_type_ != FileType::kQ4_K_M) return base_;
  if (!falcon_) return more ? TensorType::kQ6_K : base_;
  if (block < block_count_ / 16) return TensorType::kQ6_K;
  return more ? TensorType::kQ5_K : base_;
}

TensorType Mix::choose(const gguf::Tensor& tensor) {
  switch (role_of(tensor.name)) {
    case Role::kOutput:
      return choose_output(tensor);
    case Role::kTokenEmbedding:
      return tied_ ? choose_output(tensor) : base_;
    case Role::kAttentionV:
      return choose_attention_v();
    case Role::kAttentionK:
      return expert_count_ == 8 ? TensorType::kQ8_0 : base_;
    case Role::kAttentionOutput: {
      const bool eight = expert_count_ == 8 && !falcon_ && file_type_ == FileType::kQ4_K_M;
      return eight ? TensorType::kQ5_K : base_;
    }
    case Role::kFfnDown:
      return choose_ffn_down(tensor);
    case Role::kOther:
      return base_;
  }
  return base_;
}

// By block, then by name: the order in which the convention counts.
std::vector<size_t> counting_order(std::span<const gguf::Tensor> tensors) {
  std::vector<size_t> order(tensors.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const int64_t block_a = block_of(tensors[a].name), block_b = block_of(tensors[b].name);
    return block_a != block_b ? block_a < block_b : tensors[a].name < tensors[b].name;
  });
  return order;
}

}  // namespace

std::span<const FileTypeInfo> file_types() { return kFileTypes; }

const FileTypeInfo& file_type_info(FileType type) {
  for (const FileTypeInfo& info : kFileTypes) {
    if (info.type == type) return info;
  }
  internal::check_failed(__FILE__, __LINE__, "not a file type");
}

std::optional<FileType> file_type_from_name(std::string_view name) {
  const auto same = [](unsigned char a, unsigned char b) {
    return std::toupper(a) == std::toupper(b);
  };
  for (const FileTypeInfo& info : kFileTypes) {
    if (std::equal(name.begin(), name.end(), info.name.begin(), info.name.end(), same)) {
      return info.type;
    }
  }
  return std::nullopt;
}

Result<std::vector<TensorChoice>> choose_tensor_types(const gguf::Metadata& metadata,
                                                      std::span<const gguf::Tensor> tensors,
                                                      FileType type) {
  GEIST_ASSIGN(Mix mix, Mix::create(metadata, tensors, type));
  const TensorType base = file_type_info(type).base;
  std::vector<TensorChoice> choices(tensors.size());
  for (const size_t i : counting_order(tensors)) {
    const gguf::Tensor& tensor = tensors[i];
    if (!may_be_quantized(tensor)) {
      choices[i] = {tensor.type};
      continue;
    }
    const TensorType wanted = kernels::is_quantized(base) ? mix.choose(tensor) : base;
    const TensorType fitting = type_that_fits(wanted, tensor.columns());
    choices[i] = {fitting, fitting != wanted};
  }
  return choices;
}

}  // namespace geist::model
