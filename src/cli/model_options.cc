#include "cli/model_options.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>

#include "cli/output.h"
#include "cli/progress.h"
#include "cli/store.h"
#include "model/hf_import.h"
#include "model/load_tokenizer.h"
#include "model/lora_import.h"

namespace geist::cli {

void add_model_options(CLI::App& app, ModelOptions& options) {
  app.add_option("model", options.model,
                 "a GGUF file, a Hugging Face folder, or a name in the model store")
      ->required();
  app.add_option("-t,--threads", options.threads, "threads (default: one for each processor)")
      ->check(CLI::Range(1, kThreadsMax));
  app.add_flag(
      "!--no-pack", options.pack,
      "multiply from the mapped file, without a packed copy in memory (slower; the same bits)");
}

void add_context_option(CLI::App& app, ModelOptions& options) {
  app.add_option("-c,--ctx", options.context_max,
                 "tokens of prompt and answer together (default: what the model was trained for)")
      ->check(CLI::Range(1, 1 << 30));
}

void add_kv_option(CLI::App& app, ModelOptions& options) {
  // By name: CLI11 prints the values of a map, and an enum's as characters.
  std::vector<std::string> names;
  for (int i = 0; i < kernels::kKvTypeCount; ++i)
    names.emplace_back(kernels::kv_type_name(static_cast<model::KvType>(i)));
  app.add_option_function<std::string>(
         "--kv-type",
         [names, &options](const std::string& name) {
           const auto at = std::find(names.begin(), names.end(), name) - names.begin();
           options.kv_type = static_cast<model::KvType>(at);
         },
         "what keys and values are kept as (default: f32); smaller types halve or quarter the "
         "memory of a context and round what attention sees")
      ->transform(CLI::IsMember(names, CLI::ignore_case));
}

void add_lora_option(CLI::App& app, ModelOptions& options) {
  app.add_option("--lora", options.adapters,
                 "a LoRA adapter (GGUF, or a PEFT folder) and its scale: FILE or FILE:0.5; may be "
                 "repeated")
      ->allow_extra_args(false);
}

namespace {

// "FILE:SCALE" taken apart. What follows the last colon is a scale when it is a number.
struct NamedAdapter {
  std::string path;
  float scale = 1.0f;
};
Result<NamedAdapter> parse_adapter(const std::string& text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos) return NamedAdapter{text};
  NamedAdapter named{text.substr(0, colon)};
  const char* const end = text.data() + text.size();
  const auto [next, error] = std::from_chars(text.data() + colon + 1, end, named.scale);
  if (error != std::errc() || next != end) return NamedAdapter{text};
  if (!std::isfinite(named.scale))
    return errorf("--lora %s: the scale must be a finite number", text.c_str());
  return named;
}

Status load_adapters(const ModelOptions& options, LoadedModel& loaded) {
  std::vector<model::AdapterSet::Member> members;
  for (const std::string& text : options.adapters) {
    GEIST_ASSIGN(const NamedAdapter named, parse_adapter(text));
    GEIST_ASSIGN(gguf::File file, model::open_adapter_file(named.path, loaded.model->config()));
    GEIST_ASSIGN(auto adapter, model::LoraAdapter::load(std::move(file), *loaded.model));
    members.push_back({std::move(adapter), named.scale});
  }
  if (!members.empty())
    loaded.adapters = std::make_shared<const model::AdapterSet>(std::move(members));
  return {};
}

Result<gguf::File> open_file(const ModelOptions& options) {
  GEIST_ASSIGN(const std::string path, find_model(options.model));
  return model::open_model_file(path);
}

Result<LoadedModel> load_file(gguf::File file, const ModelOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  LoadedModel loaded;
  loaded.kv_type = options.kv_type;
  GEIST_ASSIGN(loaded.pool, ThreadPool::create(options.threads));
  // On a terminal only: packing takes a moment at most, and logs need not hear of it.
  Progress progress("loading", 100, Progress::Unit::kShare, ::isatty(STDERR_FILENO) != 1);
  model::LoadOptions load;
  load.pool = loaded.pool.get();
  load.pack = options.pack;
  load.progress = [&](double done) { progress.update(static_cast<uint64_t>(done * 100)); };
  GEIST_ASSIGN(loaded.model, model::Model::load(std::move(file), load));
  if (const int64_t unpacked = loaded.model->unpacked_bytes(); unpacked > 0)
    note("no memory to pack %s of the weights: they are read as the file has them, more slowly",
         human_bytes(static_cast<double>(unpacked)).c_str());
  GEIST_TRY(load_adapters(options, loaded));
  loaded.load_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return loaded;
}

}  // namespace

std::vector<std::string> LoadedModel::files() const {
  std::vector<std::string> files = model->file().sources();
  if (adapters == nullptr) return files;
  for (const model::AdapterSet::Member& member : adapters->members()) {
    const auto more = member.adapter->file().sources();
    files.insert(files.end(), more.begin(), more.end());
  }
  return files;
}

Result<LoadedModel> load_model(const ModelOptions& options) {
  GEIST_ASSIGN(gguf::File file, open_file(options));
  return load_file(std::move(file), options);
}

Result<OpenedModel> open_speaking_model(const ModelOptions& options) {
  GEIST_ASSIGN(gguf::File file, open_file(options));
  GEIST_TRY(model::read_model_config(file));  // of a file that is no model this is the first to say
  auto tokenizer = model::load_tokenizer(file.metadata());
  if (!tokenizer.ok()) return Error{options.model + ": " + tokenizer.error().message};
  return OpenedModel{std::move(file), std::move(*tokenizer)};
}

Result<SpeakingModel> load_speaking_model(OpenedModel opened, const ModelOptions& options) {
  SpeakingModel speaking;
  GEIST_ASSIGN(static_cast<LoadedModel&>(speaking), load_file(std::move(opened.file), options));
  speaking.tokenizer.emplace(std::move(opened.tokenizer));
  return speaking;
}

Result<SpeakingModel> load_speaking_model(const ModelOptions& options) {
  GEIST_ASSIGN(OpenedModel opened, open_speaking_model(options));
  return load_speaking_model(std::move(opened), options);
}

Result<std::vector<text::TokenId>> parse_tokens(const std::string& text) {
  std::vector<text::TokenId> tokens;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    text::TokenId id = 0;
    const auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || (next != end && (*next != ',' || next + 1 == end))) {
      return errorf("'%s' is not a list of token ids such as 1,15043,3186", text.c_str());
    }
    tokens.push_back(id);
    at = next == end ? end : next + 1;
  }
  if (tokens.empty()) return errorf("the list of token ids is empty");
  return tokens;
}

}  // namespace geist::cli
