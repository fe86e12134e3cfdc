// What commands that run a model have in common: MODEL, -t, --ctx, and loading.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "engine/session.h"
#include "model/lora.h"
#include "model/model.h"
#include "text/tokenizer.h"

namespace CLI {
class App;
}

namespace geist::cli {

// More than any machine has use for; the system refuses tens of thousands in its own words.
inline constexpr int kThreadsMax = 512;

struct ModelOptions {
  std::string model;
  int threads = 0;          // 0: one for each processor this program may use
  int32_t context_max = 0;  // 0: the model's
  bool pack = true;
  model::KvType kv_type = model::KvType::kF32;
  std::vector<std::string> adapters;  // FILE or FILE:SCALE
};

// Adds MODEL, -t and --no-pack; add_context_option() adds -c, add_lora_option() --lora,
// add_kv_option() --kv-type.
void add_model_options(CLI::App& app, ModelOptions& options);
void add_context_option(CLI::App& app, ModelOptions& options);
void add_lora_option(CLI::App& app, ModelOptions& options);
void add_kv_option(CLI::App& app, ModelOptions& options);

struct LoadedModel {
  std::unique_ptr<ThreadPool> pool;
  std::unique_ptr<model::Model> model;
  std::shared_ptr<const model::AdapterSet> adapters;  // null: none
  model::KvType kv_type = model::KvType::kF32;        // of its sessions
  double load_s = 0;
  std::vector<std::string> files() const;  // all that were read, for refuse_overwriting()
};

Result<LoadedModel> load_model(const ModelOptions& options);

// The same with its tokenizer. In two steps, where there is something to check between: opening
// reads the header alone, loading takes as long as the weights are large.
struct OpenedModel {
  gguf::File file;
  text::Tokenizer tokenizer;
};
struct SpeakingModel : LoadedModel {
  std::optional<text::Tokenizer> tokenizer;
};
Result<OpenedModel> open_speaking_model(const ModelOptions& options);
Result<SpeakingModel> load_speaking_model(OpenedModel opened, const ModelOptions& options);
Result<SpeakingModel> load_speaking_model(const ModelOptions& options);

// "1,2,3" as token ids.
Result<std::vector<text::TokenId>> parse_tokens(const std::string& text);

}  // namespace geist::cli
