#include "model/hf_import.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>

#include "base/checked.h"
#include "gguf/safetensors.h"
#include "model/hf_arch.h"
#include "model/hf_config.h"
#include "model/hf_names.h"
#include "model/hf_tensor.h"
#include "model/hf_tokenizer.h"

namespace geist::model {
namespace {

namespace fs = std::filesystem;
using gguf::SafeTensor;
using gguf::SafeTensors;

constexpr size_t kJsonBytesMax = size_t{64} << 20;

// What checkpoints carry along and a forward pass does not need: buffers, heads of other tasks,
// other modalities.
constexpr std::string_view kIgnored[] = {
    "rotary_emb.inv_freq",    ".attn.bias",    ".attn.masked_bias", ".attention.bias",
    ".attention.masked_bias", "position_ids",  "pooler.dense",      "cls.predictions.",
    "cls.seq_relationship.",  "vision_tower.", "vision_model.",     "multi_modal_projector.",
};

bool is_ignored(std::string_view name) {
  return std::any_of(std::begin(kIgnored), std::end(kIgnored), [&](std::string_view part) {
    return name.find(part) != std::string_view::npos;
  });
}

bool has_output_matrix(const HfArch& arch) {
  return std::any_of(arch.rules.begin(), arch.rules.end(), [](std::span<const TensorRule> rules) {
    return std::any_of(rules.begin(), rules.end(),
                       [](const TensorRule& rule) { return rule.gguf == "output"; });
  });
}

// All that is known while the tensors are being planned.
struct Planner {
  const std::string& folder;
  const HfArch& arch;
  const HfShape& shape;
  MatrixType matrix_type;
  std::map<std::string, std::map<int64_t, const SafeTensor*>>
      stacks;  // GGUF name, then number in the stack
  std::vector<PlannedTensor> planned;

  Error fault(const SafeTensor& tensor, const char* what) const {
    return errorf("%s: tensor '%.200s' %s", folder.c_str(), tensor.name.c_str(), what);
  }

  Status add(const SafeTensor& tensor, const TensorRule& rule, const HfName& parsed);
  Status add_stack(const std::string& name, const std::map<int64_t, const SafeTensor*>& members);
  Status finish(TensorRecipe recipe);
};

std::vector<int64_t> reversed(const std::vector<int64_t>& shape) {
  return {shape.rbegin(), shape.rend()};
}

// Half of the rows of each expert: [experts][2 F][H], first or second F.
Status choose_expert_half(const SafeTensor& tensor, bool second, TensorRecipe* recipe) {
  const int64_t rows = tensor.shape[1], half = rows / 2;
  recipe->row_length = tensor.shape[2];
  recipe->dims[1] = half;
  recipe->row_of = [=](int64_t r) {
    return std::pair(size_t{0}, r / half * rows + r % half + (second ? half : 0));
  };
  return {};
}

Status Planner::add(const SafeTensor& tensor, const TensorRule& rule, const HfName& parsed) {
  if (tensor.shape.empty() || tensor.elements() == 0) return fault(tensor, "is empty or a scalar");
  if (!parsed.numbers.empty() && parsed.numbers[0] >= shape.blocks)
    return fault(tensor, "belongs to a block beyond num_hidden_layers of config.json");
  const std::string name = gguf_name(rule.gguf, parsed);
  if (rule.op == TensorOp::kExpert || rule.op == TensorOp::kHeadStack) {
    if (!stacks[name].emplace(parsed.numbers.back(), &tensor).second)
      return fault(tensor, "is there twice");
    return {};
  }
  TensorRecipe recipe;
  recipe.name = name;
  recipe.sources = {&tensor};
  recipe.dims = reversed(tensor.shape);
  const bool is_weight = parsed.ending == ".weight";
  recipe.keep_f32 = rule.op == TensorOp::kF32 || rule.gguf.ends_with("_norm");
  const bool is_half = rule.op == TensorOp::kExpertGate || rule.op == TensorOp::kExpertUp;
  if (is_half && (tensor.shape.size() != 3 || tensor.shape[1] % 2 != 0))
    return fault(tensor, "is not a pair of expert matrices");
  switch (rule.op) {
    case TensorOp::kAddOne:
      recipe.add = is_weight ? 1.0f : 0.0f;
      break;
    case TensorOp::kTranspose:
      if (tensor.shape.size() > 1) {
        recipe.transpose = true;
        std::reverse(recipe.dims.begin(), recipe.dims.end());
      }
      break;
    case TensorOp::kExpertGate:
      GEIST_TRY(choose_expert_half(tensor, false, &recipe));
      break;
    case TensorOp::kExpertUp:
      GEIST_TRY(choose_expert_half(tensor, true, &recipe));
      break;
    case TensorOp::kRopeQ:
    case TensorOp::kRopeK:
    case TensorOp::kQkvByHead:
    case TensorOp::kQkvByGroup:
      GEIST_TRY(choose_hf_rows(rule.op, shape.heads, shape.kv_heads, folder, &recipe));
      break;
    default:
      break;
  }
  return finish(std::move(recipe));
}

Status Planner::add_stack(const std::string& name,
                          const std::map<int64_t, const SafeTensor*>& members) {
  TensorRecipe recipe;
  recipe.name = name;
  const SafeTensor& first = *members.begin()->second;
  for (const auto& [number, tensor] : members) {
    if (number != static_cast<int64_t>(recipe.sources.size()))
      return fault(*tensor, "has no predecessor in its stack");
    if (tensor->shape != first.shape || tensor->dtype != first.dtype)
      return fault(*tensor, "differs in shape from the others of its stack");
    recipe.sources.push_back(tensor);
  }
  recipe.dims = reversed(first.shape);
  recipe.dims.push_back(static_cast<int64_t>(members.size()));
  recipe.row_length = first.elements();
  recipe.row_of = [](int64_t r) { return std::pair(static_cast<size_t>(r), int64_t{0}); };
  recipe.keep_f32 = name.find("_norm.") != std::string::npos;
  return finish(std::move(recipe));
}

Status Planner::finish(TensorRecipe recipe) {
  while (recipe.dims.size() > 1 && recipe.dims.back() == 1) recipe.dims.pop_back();
  if (recipe.dims.size() > 4) return fault(*recipe.sources[0], "has more than four dimensions");
  GEIST_ASSIGN(PlannedTensor tensor, plan_tensor(std::move(recipe), matrix_type, folder));
  planned.push_back(std::move(tensor));
  return {};
}

Status plan_all(const SafeTensors& tensors, bool tied, Planner* planner) {
  std::set<std::string_view> unplaced;
  for (const SafeTensor& tensor : tensors.tensors()) {
    if (is_ignored(tensor.name)) continue;
    const HfName parsed = parse_hf_name(tensor.name, planner->arch.prefix);
    bool placed = tied && (parsed.pattern == "lm_head" || parsed.pattern == "embed_out");
    for (const auto& rules : planner->arch.rules)
      for (const TensorRule& rule : rules) {
        if (placed && tied && rule.gguf == "output") continue;
        if (rule.hf != parsed.pattern || parsed.ending.empty()) continue;
        GEIST_TRY(planner->add(tensor, rule, parsed));
        placed = true;
      }
    if (!placed)
      return planner->fault(
          tensor,
          "has no place in this architecture; the model is of a kind that is not supported");
  }
  for (const auto& [name, members] : planner->stacks) GEIST_TRY(planner->add_stack(name, members));
  return {};
}

Status add_config_tensors(std::vector<ConfigTensor> tensors, Planner* planner) {
  for (ConfigTensor& tensor : tensors) {
    PlannedTensor planned;
    planned.shape = {
        tensor.name, kernels::TensorType::kF32, {static_cast<int64_t>(tensor.values.size())}};
    planned.fill = [values = std::move(tensor.values)](std::span<std::byte> out) {
      std::memcpy(out.data(), values.data(), out.size());
    };
    planner->planned.push_back(std::move(planned));
  }
  return {};
}

Result<HfConfig> read_config_json(const fs::path& path) {
  GEIST_ASSIGN(const std::string text, read_file(path.string(), kJsonBytesMax));
  GEIST_ASSIGN(HfConfig config, HfConfig::parse(text, path.string()));
  // The language model's part, where the model has others.
  if (config.has("text_config") && !config.has("num_hidden_layers") && !config.has("n_layer"))
    return config.object({"text_config"}).value_or(config);
  return config;
}

// Embedding models say how token vectors become one in a file of sentence-transformers.
Status add_pooling(const fs::path& folder, const HfConfig& config, Keys* keys) {
  keys->metadata().insert_or_assign(
      "tokenizer.ggml.token_type_count",
      gguf::Value::u32(static_cast<uint32_t>(
          std::clamp<int64_t>(config.integer({"type_vocab_size"}).value_or(2), 0, 1 << 16))));
  const fs::path path = folder / "1_Pooling" / "config.json";
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return {};
  GEIST_ASSIGN(const std::string text, read_file(path.string(), kJsonBytesMax));
  GEIST_ASSIGN(const HfConfig pooling, HfConfig::parse(text, path.string()));
  constexpr std::pair<const char*, int64_t> kModes[] = {{"pooling_mode_mean_tokens", 1},
                                                        {"pooling_mode_cls_token", 2},
                                                        {"pooling_mode_lasttoken", 3}};
  for (const auto& [name, number] : kModes)
    if (pooling.boolean({name}).value_or(false)) keys->integer("pooling_type", number);
  return pooling.status();
}

const PlannedTensor* find_planned(const ImportPlan& plan, std::string_view name) {
  const auto entry =
      std::find_if(plan.tensors.begin(), plan.tensors.end(),
                   [&](const PlannedTensor& tensor) { return tensor.shape.name == name; });
  return entry == plan.tensors.end() ? nullptr : &*entry;
}

// The order of a GGUF file: what comes before the blocks, the blocks by number, what comes after.
std::pair<int64_t, std::string> order_of(const PlannedTensor& tensor) {
  const std::string& name = tensor.shape.name;
  if (name.starts_with("blk.")) return {std::stol(name.substr(4)), name};
  return {name.starts_with("output") ? int64_t{1} << 40 : -1, name};
}

uint32_t file_type_of(const ImportPlan& plan) {
  const PlannedTensor* embedding = find_planned(plan, "token_embd.weight");
  return file_type_number(embedding == nullptr ? kernels::TensorType::kF32 : embedding->shape.type);
}

std::string model_name(const fs::path& folder) {
  const fs::path clean = fs::path(folder / "").parent_path();  // without a slash at the end
  return clean.filename().string();
}

}  // namespace

Result<ImportPlan> plan_hf_import(const std::string& folder, MatrixType matrix_type) {
  std::error_code ignored;
  if (!fs::exists(fs::path(folder) / "config.json", ignored))
    return errorf(
        "%s: a folder without config.json; give a .gguf file or the folder of a Hugging Face model",
        folder.c_str());
  GEIST_ASSIGN(const HfConfig config, read_config_json(fs::path(folder) / "config.json"));
  const std::string type = config.string({"model_type"}).value_or("");
  const HfArch* arch = find_hf_arch(type);
  if (arch == nullptr)
    return errorf("%s: the architecture '%.64s' is not supported; supported are %s",
                  config.file().c_str(), type.c_str(), hf_arch_names().c_str());
  if (config.has("quantization_config"))
    return errorf("%s: the weights are quantised; get the F16, BF16 or F32 weights of the model",
                  config.file().c_str());
  GEIST_ASSIGN(HfShape shape, read_hf_shape(config));
  ImportPlan plan;
  plan.name = folder;
  plan.read_from = {folder};
  Keys keys(arch->gguf, &plan.metadata);
  std::vector<ConfigTensor> config_tensors;
  GEIST_TRY(write_common_keys(*arch, config, shape, keys, config_tensors));
  if (arch->extend != nullptr) GEIST_TRY(arch->extend(config, shape, keys, config_tensors));
  if (plan.metadata.contains(std::string(arch->gguf) + ".attention.causal"))
    GEIST_TRY(add_pooling(folder, config, &keys));
  GEIST_TRY(config.status());
  GEIST_TRY(keys.status());

  GEIST_ASSIGN(SafeTensors opened, SafeTensors::open(folder));
  auto tensors = std::make_shared<const SafeTensors>(std::move(opened));
  Planner planner{folder, *arch, shape, matrix_type, {}, {}};
  // An output matrix that is the embedding's copy is left out.
  const auto tied = config.boolean({"tie_word_embeddings"});
  const bool has_output = has_output_matrix(*arch);
  GEIST_TRY(plan_all(*tensors, tied.value_or(!has_output), &planner));
  GEIST_TRY(add_config_tensors(std::move(config_tensors), &planner));
  plan.tensors = std::move(planner.planned);
  plan.source = std::move(tensors);
  std::sort(
      plan.tensors.begin(), plan.tensors.end(),
      [](const PlannedTensor& a, const PlannedTensor& b) { return order_of(a) < order_of(b); });
  for (size_t i = 1; i < plan.tensors.size(); ++i)
    if (plan.tensors[i].shape.name == plan.tensors[i - 1].shape.name)
      return errorf("%s: two tensors would both be '%s'", folder.c_str(),
                    plan.tensors[i].shape.name.c_str());

  const PlannedTensor* embedding = find_planned(plan, "token_embd.weight");
  if (embedding == nullptr || embedding->shape.dims.size() != 2)
    return errorf("%s: there is no token embedding matrix; the model is incomplete",
                  folder.c_str());
  if (has_output && tied && !*tied && find_planned(plan, "output.weight") == nullptr)
    return errorf(
        "%s: there is no output matrix, and config.json says that the embedding is not used for "
        "it; the model "
        "is incomplete",
        folder.c_str());
  keys.integer("vocab_size", embedding->shape.dims[1]);
  plan.metadata.insert_or_assign("general.name", gguf::Value::string(model_name(folder)));
  plan.metadata.insert_or_assign("general.file_type", gguf::Value::u32(file_type_of(plan)));
  GEIST_TRY(add_hf_tokenizer(folder, embedding->shape.dims[1], &plan.metadata));
  return plan;
}

Result<gguf::File> import_hf(const std::string& folder) {
  GEIST_ASSIGN(ImportPlan plan, plan_hf_import(folder));
  return assemble(std::move(plan));
}

Result<gguf::File> open_model_file(const std::string& path) {
  std::error_code ignored;
  if (path.ends_with(".safetensors") && fs::is_regular_file(path, ignored))
    return errorf("%s: tensors alone; give the folder, which has config.json and tokenizer.json",
                  path.c_str());
  return fs::is_directory(path, ignored) ? import_hf(path) : gguf::File::open(path);
}

}  // namespace geist::model
