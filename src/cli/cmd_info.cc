// geist info: what a model is, from its file's header alone; no tensor data is touched, so a file
// larger than memory answers at once.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/store.h"
#include "engine/session.h"
#include "gguf/gguf.h"
#include "model/hf_import.h"
#include "model/lora.h"
#include "model/lora_import.h"
#include "model/registry.h"

namespace geist::cli {
namespace {

using Json = nlohmann::ordered_json;

struct TypeShare {
  std::string name;
  int64_t tensors = 0, parameters = 0, bytes = 0;
};

struct Info {
  std::string architecture, name, tokenizer, pre_tokenizer;
  int64_t parameters = 0, tensor_bytes = 0;
  std::vector<TypeShare> types;  // most bytes first
  int64_t context_length = 0, embedding_length = 0, block_count = 0, feed_forward_length = 0;
  int64_t head_count = 0, head_count_kv = 0, expert_count = 0, expert_used_count = 0,
          vocab_size = 0;
  std::optional<model::Config> config;  // of an architecture that Geist runs
  bool chat_template = false;
};

// Typed look-ups that keep the first error.
class Reader {
 public:
  Reader(const gguf::Metadata& metadata, std::string prefix)
      : metadata_(metadata), prefix_(std::move(prefix)) {}

  int64_t integer(const std::string& key, int64_t otherwise = 0) {
    const auto value = gguf::get_int(metadata_, prefix_ + key);
    if (!value.ok()) return note_error(value.error()), otherwise;
    return value->value_or(otherwise);
  }
  std::string text(const std::string& key) {
    const auto value = gguf::get_string(metadata_, key);
    if (!value.ok()) return note_error(value.error()), "";
    return value->value_or("");
  }
  // One number for all layers, or one for each; the sum over layers.
  int64_t layer_sum(const std::string& key, int64_t layers, int64_t otherwise) {
    const auto found = metadata_.find(prefix_ + key);
    if (found == metadata_.end() || found->second.type != gguf::ValueType::kArray) {
      return saturated(integer(key, otherwise), layers);
    }
    const auto values = gguf::get_ints(metadata_, prefix_ + key);
    if (!values.ok()) return note_error(values.error()), 0;
    int64_t sum = 0;
    for (const int64_t value : **values) sum += std::clamp<int64_t>(value, 0, 1 << 20);
    return sum;
  }
  static int64_t saturated(int64_t a, int64_t b) {
    int64_t out;
    return __builtin_mul_overflow(a, b, &out) ? INT64_MAX : out;
  }
  const Status& status() const { return status_; }

 private:
  void note_error(const Error& error) {
    if (status_.ok()) status_ = error;
  }
  const gguf::Metadata& metadata_;
  std::string prefix_;
  Status status_;
};

void add_tensors(const gguf::File& file, Info& info) {
  std::map<std::string, TypeShare> shares;
  for (const gguf::Tensor& tensor : file.tensors()) {
    const std::string name(kernels::tensor_type_info(tensor.type).name);
    TypeShare& share = shares[name];
    share.name = name;
    share.tensors += 1;
    share.parameters += tensor.is_of_trainer() ? 0 : tensor.elements();
    share.bytes += static_cast<int64_t>(tensor.data.size());
  }
  for (const auto& [name, share] : shares) {
    info.parameters += share.parameters;
    info.tensor_bytes += share.bytes;
    info.types.push_back(share);
  }
  std::stable_sort(info.types.begin(), info.types.end(),
                   [](const TypeShare& a, const TypeShare& b) { return a.bytes > b.bytes; });
}

Result<Info> read_info(const gguf::File& file) {
  Info info;
  add_tensors(file, info);
  Reader general(file.metadata(), "");
  info.architecture = general.text("general.architecture");
  info.name = general.text("general.name");
  info.tokenizer = general.text("tokenizer.ggml.model");
  info.pre_tokenizer = general.text("tokenizer.ggml.pre");
  info.chat_template = !general.text("tokenizer.chat_template").empty();
  if (!general.status()) return general.status().error();
  const auto tokens = gguf::get_strings(file.metadata(), "tokenizer.ggml.tokens");
  if (!tokens.ok()) return tokens.error();

  Reader reader(file.metadata(), info.architecture + ".");
  info.context_length = reader.integer("context_length");
  info.embedding_length = reader.integer("embedding_length");
  info.block_count = reader.integer("block_count");
  info.expert_count = reader.integer("expert_count");
  info.expert_used_count = reader.integer("expert_used_count");
  const int64_t layers = std::max<int64_t>(info.block_count, 1);
  info.feed_forward_length = reader.layer_sum("feed_forward_length", layers, 0) / layers;
  info.head_count = reader.layer_sum("attention.head_count", layers, 0) / layers;
  const int64_t kv_heads =
      reader.layer_sum("attention.head_count_kv", info.block_count, info.head_count);
  info.head_count_kv = kv_heads / layers;
  info.vocab_size =
      *tokens != nullptr ? static_cast<int64_t>((*tokens)->size()) : reader.integer("vocab_size");
  if (!reader.status()) return reader.status().error();
  if (const model::Architecture* known = model::find_architecture(info.architecture)) {
    auto config = model::read_config(file, known->name, known->traits);
    if (config.ok()) info.config = std::move(*config);
  }
  return info;
}

// Keys and values in memory: what a token adds, of it in layers with a sliding window (which keep
// that of the last tokens only), and all of it when the context is full.
struct KvPlan {
  uint64_t bytes_per_token, window_bytes_per_token, context_bytes;
};

KvPlan plan_kv(const model::Config& config, model::KvType type) {
  const model::KvLayout& layout = config.kv_layout(type);
  const int64_t live = engine::PassOptions().tokens_max + engine::kRewindTokens;
  return {static_cast<uint64_t>(layout.full_bytes + layout.window_bytes) / kernels::kPageTokens,
          static_cast<uint64_t>(layout.window_bytes) / kernels::kPageTokens,
          model::kv_bytes_planned(config, type, config.context_length, live)};
}

Json kv_json(const Info& info) {
  if (!info.config || !info.config->causal) return nullptr;
  Json types = Json::object();
  for (int i = 0; i < kernels::kKvTypeCount; ++i) {
    const auto type = static_cast<model::KvType>(i);
    const KvPlan plan = plan_kv(*info.config, type);
    types[kernels::kv_type_name(type)] = {{"bytes_per_token", plan.bytes_per_token},
                                          {"window_bytes_per_token", plan.window_bytes_per_token},
                                          {"context_bytes", plan.context_bytes}};
  }
  const bool windows = info.config->kv_layout(model::KvType::kF32).window_bytes > 0;
  return {{"window", windows ? info.config->sliding_window : 0}, {"types", types}};
}

std::string kv_text(const Info& info) {
  if (!info.config) return "(not known: Geist does not run this file)";
  if (!info.config->causal) return "(none: each text is read whole)";
  const KvPlan plan = plan_kv(*info.config, model::KvType::kF32);
  std::string text = human_bytes(static_cast<double>(plan.bytes_per_token)) + " a token";
  if (plan.window_bytes_per_token > 0)
    text += " (" + human_bytes(static_cast<double>(plan.window_bytes_per_token)) +
            " of it kept for a window of " + std::to_string(info.config->sliding_window) + ")";
  text += ", " + human_bytes(static_cast<double>(plan.context_bytes)) + " at full context";
  for (const auto type : {model::KvType::kF16, model::KvType::kQ8_0})
    text += std::string(", ") +
            human_bytes(static_cast<double>(plan_kv(*info.config, type).context_bytes)) + " as " +
            kernels::kv_type_name(type);
  return text;
}

double bits_per_parameter(const Info& info) {
  return info.parameters == 0
             ? 0
             : static_cast<double>(info.tensor_bytes) * 8 / static_cast<double>(info.parameters);
}

Json scalar_metadata(const gguf::Metadata& metadata) {
  Json out = Json::object();
  for (const auto& entry : metadata) {
    const std::string& key = entry.first;  // clang 14 does not capture structured bindings
    std::visit(
        [&](const auto& data) {
          using T = std::decay_t<decltype(data)>;
          if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
            out[key] = data;
          } else {
            out[key] = {{"array_length", data.size()}};
          }
        },
        entry.second.data);
  }
  return out;
}

std::string number(int64_t value) { return std::to_string(value); }

// What the parameters lie in; a folder is imported on the way.
std::string layout(const gguf::File& file) {
  if (file.mappings().empty()) return " of tensors in Hugging Face's layout (safetensors)";
  return ", GGUF version " + number(file.version());
}

Json gguf_version(const gguf::File& file) {
  return file.mappings().empty() ? Json(nullptr) : Json(file.version());
}

Json to_json(const gguf::File& file, const Info& info) {
  Json types = Json::array();
  for (const TypeShare& share : info.types) {
    types.push_back({{"type", share.name},
                     {"tensors", share.tensors},
                     {"parameters", share.parameters},
                     {"bytes", share.bytes}});
  }
  return {{"file", file.name()},
          {"gguf_version", gguf_version(file)},
          {"file_bytes", file.file_bytes()},
          {"name", info.name},
          {"architecture", info.architecture},
          {"parameters", info.parameters},
          {"bits_per_parameter", bits_per_parameter(info)},
          {"tensors", file.tensors().size()},
          {"tensor_bytes", info.tensor_bytes},
          {"types", types},
          {"context_length", info.context_length},
          {"embedding_length", info.embedding_length},
          {"block_count", info.block_count},
          {"feed_forward_length", info.feed_forward_length},
          {"head_count", info.head_count},
          {"head_count_kv", info.head_count_kv},
          {"expert_count", info.expert_count},
          {"expert_used_count", info.expert_used_count},
          {"vocab_size", info.vocab_size},
          {"kv", kv_json(info)},
          {"tokenizer", info.tokenizer},
          {"pre_tokenizer", info.pre_tokenizer},
          {"chat_template", info.chat_template},
          {"metadata", scalar_metadata(file.metadata())}};
}

std::string to_text(const gguf::File& file, const Info& info) {
  char bits[32];
  std::snprintf(bits, sizeof bits, "%.2f", bits_per_parameter(info));
  std::vector<std::pair<std::string, std::string>> rows = {
      {"name", info.name.empty() ? "(none)" : info.name},
      {"architecture", info.architecture.empty() ? "(none)" : info.architecture},
      {"parameters",
       human_count(static_cast<double>(info.parameters)) + ", " + bits + " bits each"},
      {"file", human_bytes(static_cast<double>(file.file_bytes())) + layout(file)},
      {"context", number(info.context_length) + " tokens"},
      {"shape", number(info.block_count) + " layers, embedding " + number(info.embedding_length) +
                    ", feed-forward " + number(info.feed_forward_length) + ", " +
                    number(info.head_count) + " heads (" + number(info.head_count_kv) +
                    " for keys and values)"}};
  if (info.expert_count > 0) {
    rows.emplace_back("experts",
                      number(info.expert_count) + ", " + number(info.expert_used_count) + " used");
  }
  rows.emplace_back("KV cache", kv_text(info));
  rows.emplace_back("tokenizer",
                    info.tokenizer.empty()
                        ? "(none)"
                        : info.tokenizer +
                              (info.pre_tokenizer.empty() ? "" : "/" + info.pre_tokenizer) + ", " +
                              number(info.vocab_size) + " tokens");
  rows.emplace_back("chat template", info.chat_template ? "yes" : "no");
  rows.emplace_back("tensors", number(static_cast<int64_t>(file.tensors().size())));
  std::string out;
  for (const auto& [label, text] : rows) {
    out += label + std::string(16 - label.size(), ' ') + printable(text) + "\n";
  }
  for (const TypeShare& share : info.types) {
    char line[100];
    std::snprintf(line, sizeof line, "  %-12s%6lld tensors %10s\n", share.name.c_str(),
                  static_cast<long long>(share.tensors),
                  human_bytes(static_cast<double>(share.bytes)).c_str());
    out += line;
  }
  return out;
}

int show(const std::string& text) {
  if (const Status status = write_output(text); !status) return fail(status.error());
  return kDone;
}

std::string dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

int run_adapter_info(const gguf::File& file, bool json) {
  const auto info = model::read_lora_info(file);
  if (!info.ok()) return fail(info.error());
  if (json) {
    return show(dump({{"file", file.name()},
                      {"gguf_version", file.version()},
                      {"file_bytes", file.file_bytes()},
                      {"name", info->name},
                      {"adapter", "lora"},
                      {"architecture", info->architecture},
                      {"alpha", info->alpha},
                      {"rank_min", info->rank_min},
                      {"rank_max", info->rank_max},
                      {"matrices", info->pairs},
                      {"parameters", info->parameters},
                      {"metadata", scalar_metadata(file.metadata())}}));
  }
  const std::string rank =
      number(info->rank_min) +
      (info->rank_min == info->rank_max ? "" : " to " + number(info->rank_max));
  char alpha[32];
  std::snprintf(alpha, sizeof alpha, "%g", info->alpha);
  return show("adapter         LoRA for " + printable(info->architecture) + "\nname            " +
              (info->name.empty() ? "(none)" : printable(info->name)) + "\nrank            " +
              rank + ", alpha " + alpha + "\nmatrices        " + number(info->pairs) +
              "\nparameters      " + human_count(static_cast<double>(info->parameters)) +
              "\nfile            " + human_bytes(static_cast<double>(file.file_bytes())) +
              ", GGUF version " + number(file.version()) + "\n");
}

int run_info(const std::string& model, bool json) {
  const auto path = find_model(model);
  if (!path.ok()) return fail(path.error());
  if (model::is_peft_folder(*path))
    return fail(
        errorf("%s: a PEFT adapter, whose names depend on its model; 'geist convert' makes "
               "a GGUF adapter of it",
               path->c_str()));
  const auto file = model::open_model_file(*path);
  if (!file.ok()) return fail(file.error());
  if (model::is_adapter_file(*file)) return run_adapter_info(*file, json);
  const auto info = read_info(*file);
  if (!info.ok()) return fail(Error{*path + ": " + info.error().message});
  return show(json ? dump(to_json(*file, *info)) : to_text(*file, *info));
}

}  // namespace

Command info_command() {
  return {"info", "Show what a model file holds, from its header alone",
          "geist info tinyllama\ngeist info model.gguf --json",
          [](CLI::App& app) -> std::function<int()> {
            auto model = std::make_shared<std::string>();
            auto json = std::make_shared<bool>(false);
            app.add_option("model", *model,
                           "a GGUF file, a Hugging Face folder, or a name in the model store")
                ->required();
            app.add_flag("--json", *json, "one JSON object");
            return [model, json] { return run_info(*model, *json); };
          }};
}

}  // namespace geist::cli
