#include "model/lora_import.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>

#include "base/file.h"
#include "gguf/safetensors.h"
#include "model/hf_config.h"
#include "model/hf_names.h"
#include "model/lora.h"

namespace geist::model {
namespace {

namespace fs = std::filesystem;
using gguf::SafeTensor;

constexpr size_t kJsonBytesMax = size_t{16} << 20;

// A module's pair, of linear layers (lora_A.weight) or of embeddings (lora_embedding_A).
struct Pair {
  const SafeTensor* a = nullptr;
  const SafeTensor* b = nullptr;
  bool embedding = false;
};

Error fault(const std::string& folder, const SafeTensor& tensor, const char* what) {
  return errorf("%s: tensor '%.200s' %s", folder.c_str(), tensor.name.c_str(), what);
}

struct Suffix {
  std::string_view text;
  bool is_a, embedding;
};
constexpr Suffix kSuffixes[] = {{".lora_A.weight", true, false},
                                {".lora_B.weight", false, false},
                                {".lora_embedding_A", true, true},
                                {".lora_embedding_B", false, true}};
constexpr std::string_view kPrefix = "base_model.model.";

// By module name, without PEFT's prefix.
Result<std::map<std::string, Pair>> collect_pairs(const gguf::SafeTensors& tensors,
                                                  const std::string& folder) {
  std::map<std::string, Pair> pairs;
  for (const SafeTensor& tensor : tensors.tensors()) {
    const auto suffix =
        std::find_if(std::begin(kSuffixes), std::end(kSuffixes),
                     [&](const Suffix& s) { return tensor.name.ends_with(s.text); });
    if (suffix == std::end(kSuffixes) || !tensor.name.starts_with(kPrefix))
      return fault(folder, tensor,
                   "is no part of a LoRA pair, and nothing else can be applied; "
                   "train the adapter without modules_to_save, biases and DoRA");
    if (tensor.shape.size() != 2 || tensor.elements() == 0)
      return fault(folder, tensor, "is not a matrix");
    const std::string module = tensor.name.substr(
        kPrefix.size(), tensor.name.size() - kPrefix.size() - suffix->text.size());
    Pair& pair = pairs[module];
    (suffix->is_a ? pair.a : pair.b) = &tensor;
    pair.embedding = suffix->embedding;
  }
  for (const auto& [module, pair] : pairs)
    if (pair.a == nullptr || pair.b == nullptr)
      return fault(folder, pair.a == nullptr ? *pair.b : *pair.a, "has no partner");
  if (pairs.empty()) return errorf("%s: the adapter is empty", folder.c_str());
  return pairs;
}

Result<const TensorRule*> find_rule(const HfArch& arch, const HfName& name,
                                    const std::string& folder, const SafeTensor& tensor) {
  for (const auto& rules : arch.rules)
    for (const TensorRule& rule : rules) {
      if (rule.hf != name.pattern) continue;
      switch (rule.op) {
        case TensorOp::kExpert:
        case TensorOp::kExpertGate:
        case TensorOp::kExpertUp:
          return fault(folder, tensor,
                       "adapts experts, which is not supported; train one without them");
        case TensorOp::kAddOne:
        case TensorOp::kHeadStack:
          return fault(folder, tensor, "adapts a norm, which is no matrix");
        default:
          return &rule;
      }
    }
  return fault(folder, tensor, "has no place in the base model's architecture");
}

// The number that GGUF's adapter carries for all pairs: alpha, where each is scaled by alpha /
// rank.
Result<float> read_alpha(const HfConfig& config, const std::map<std::string, Pair>& pairs) {
  const std::string& file = config.file();
  if (config.string({"peft_type"}).value_or("LORA") != "LORA")
    return errorf("%s: peft_type '%.40s' is not supported, only LORA", file.c_str(),
                  config.string({"peft_type"})->c_str());
  if (config.boolean({"use_dora"}).value_or(false))
    return errorf("%s: DoRA is not supported; train the adapter as plain LoRA", file.c_str());
  if (config.string({"bias"}).value_or("none") != "none")
    return errorf("%s: trained biases are not supported; train the adapter with bias 'none'",
                  file.c_str());
  const auto alphas = config.object({"alpha_pattern"});
  if (alphas && !alphas->empty())
    return errorf("%s: alpha_pattern (a scale for each module) is not supported", file.c_str());
  double alpha = config.number({"lora_alpha"}).value_or(8);
  if (config.boolean({"use_rslora"}).value_or(false)) {
    // alpha / sqrt(rank) is (alpha * sqrt(rank)) / rank, as long as there is one rank.
    std::set<int64_t> ranks;
    for (const auto& entry : pairs) ranks.insert(entry.second.b->shape[1]);
    if (ranks.size() > 1)
      return errorf("%s: use_rslora with different ranks is not supported", file.c_str());
    alpha *= std::sqrt(static_cast<double>(*ranks.begin()));
  }
  GEIST_TRY(config.status());
  if (!(std::isfinite(alpha) && alpha != 0))
    return errorf("%s: lora_alpha must be a finite number that is not 0", file.c_str());
  return static_cast<float>(alpha);
}

}  // namespace

bool is_peft_folder(const std::string& path) {
  std::error_code ignored;
  return fs::exists(fs::path(path) / "adapter_config.json", ignored);
}

Result<ImportPlan> plan_peft_import(const std::string& folder, const Config& base,
                                    MatrixType matrix_type) {
  const fs::path config_path = fs::path(folder) / "adapter_config.json";
  GEIST_ASSIGN(const std::string text, read_file(config_path.string(), kJsonBytesMax));
  GEIST_ASSIGN(const HfConfig config, HfConfig::parse(text, config_path.string()));
  const HfArch* arch = find_hf_arch_of_gguf(base.architecture);
  if (arch == nullptr)
    return errorf("%s: PEFT adapters for '%s' are not supported; supported are those for %s",
                  folder.c_str(), base.architecture.c_str(), hf_arch_names().c_str());
  const fs::path weights = fs::path(folder) / "adapter_model.safetensors";
  GEIST_ASSIGN(gguf::SafeTensors opened, gguf::SafeTensors::open(weights.string()));
  auto tensors = std::make_shared<const gguf::SafeTensors>(std::move(opened));
  GEIST_ASSIGN(const auto pairs, collect_pairs(*tensors, folder));
  GEIST_ASSIGN(const float alpha, read_alpha(config, pairs));

  ImportPlan plan;
  plan.name = folder;
  plan.read_from = {folder};
  plan.metadata = lora_metadata(base.architecture, alpha);
  plan.source = tensors;
  std::set<std::string> names;
  for (const auto& [module, pair] : pairs) {
    const HfName parsed = parse_hf_name(module + ".weight", arch->prefix);
    GEIST_ASSIGN(const TensorRule* rule, find_rule(*arch, parsed, folder, *pair.a));
    const std::string name = gguf_name(rule->gguf, parsed);
    if (!names.insert(name).second) return fault(folder, *pair.a, "is there twice");
    TensorRecipe a{.name = name + ".lora_a", .sources = {pair.a}, .dims = {}, .row_of = {}};
    TensorRecipe b{.name = name + ".lora_b", .sources = {pair.b}, .dims = {}, .row_of = {}};
    a.dims = {pair.a->shape[1], pair.a->shape[0]};
    b.dims = {pair.b->shape[1], pair.b->shape[0]};
    if (pair.embedding) {  // [rank, vocabulary], whose columns are looked up
      a.transpose = true;
      std::reverse(a.dims.begin(), a.dims.end());
    }
    // The rows of B are the outputs. GPT-2's transposed layers have pairs like all others.
    if (rule->op != TensorOp::kPlain && rule->op != TensorOp::kF32 &&
        rule->op != TensorOp::kTranspose)
      GEIST_TRY(choose_hf_rows(rule->op, base.head_count, base.head_count_kv, folder, &b));
    for (TensorRecipe* recipe : {&a, &b}) {
      GEIST_ASSIGN(PlannedTensor planned, plan_tensor(std::move(*recipe), matrix_type, folder));
      plan.tensors.push_back(std::move(planned));
    }
  }
  return plan;
}

Result<gguf::File> open_adapter_file(const std::string& path, const Config& base) {
  if (is_peft_folder(path)) {
    GEIST_ASSIGN(ImportPlan plan, plan_peft_import(path, base));
    return assemble(std::move(plan));
  }
  std::error_code ignored;
  if (fs::is_directory(path, ignored))
    return errorf(
        "%s: a folder without adapter_config.json; give a .gguf file or the folder of a "
        "PEFT adapter",
        path.c_str());
  if (path.ends_with(".safetensors"))
    return errorf("%s: give the folder that holds it, with adapter_config.json", path.c_str());
  return gguf::File::open(path);
}

}  // namespace geist::model
