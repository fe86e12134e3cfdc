// geist convert: a model in Hugging Face's layout, or a checkpoint of llama2.c, becomes a GGUF
// file. One tensor is in memory at a time.
#include <CLI/CLI.hpp>
#include <cinttypes>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/store.h"
#include "gguf/gguf.h"
#include "model/hf_import.h"
#include "model/llama2c_import.h"
#include "model/lora_import.h"
#include "model/model.h"

namespace geist::cli {
namespace {

namespace fs = std::filesystem;

struct ConvertOptions {
  std::string input, output, type, tokenizer, base;
};

Result<model::ImportPlan> make_plan(const ConvertOptions& options) {
  model::MatrixType type;
  if (!options.type.empty()) type = kernels::tensor_type_from_name(options.type);
  std::error_code ignored;
  if (!fs::exists(options.input, ignored))
    return errorf("%s: no such file or folder", options.input.c_str());
  if (model::is_peft_folder(options.input)) {
    if (options.base.empty())
      return errorf("%s: an adapter; name the model that it belongs to with --base",
                    options.input.c_str());
    GEIST_ASSIGN(const std::string base, find_model(options.base));
    GEIST_ASSIGN(const gguf::File file, model::open_model_file(base));
    GEIST_ASSIGN(const model::Config config, model::read_model_config(file));
    GEIST_ASSIGN(model::ImportPlan plan, model::plan_peft_import(options.input, config, type));
    const auto base_files = file.sources();
    plan.read_from.insert(plan.read_from.end(), base_files.begin(), base_files.end());
    return plan;
  }
  if (fs::is_directory(options.input, ignored)) return model::plan_hf_import(options.input, type);
  if (options.input.ends_with(".safetensors") || options.input.ends_with(".json"))
    return errorf("%s: give the folder that holds it, with config.json and tokenizer.json",
                  options.input.c_str());
  if (options.input.ends_with(".gguf"))
    return errorf("%s: already a GGUF file; 'geist quantize' changes its types",
                  options.input.c_str());
  return model::plan_llama2c_import(options.input, options.tokenizer, type);
}

Status write_plan(const model::ImportPlan& plan, const std::string& output) {
  GEIST_TRY(refuse_overwriting(output, plan.read_from));
  std::vector<gguf::TensorToWrite> shapes;
  for (const model::PlannedTensor& tensor : plan.tensors) shapes.push_back(tensor.shape);
  const RemoveOnInterrupt partial(output);
  GEIST_ASSIGN(gguf::Writer writer, gguf::Writer::create(output, plan.metadata, std::move(shapes)));
  Progress progress("converting", plan.bytes());
  uint64_t done = 0;
  std::vector<std::byte> bytes;
  for (const model::PlannedTensor& tensor : plan.tensors) {
    std::span<const std::byte> data = tensor.in_place;
    if (data.empty()) {
      bytes.resize(tensor.bytes());
      tensor.fill(bytes);
      data = bytes;
    }
    GEIST_TRY(writer.write_tensor(data));
    progress.update(done += data.size());
  }
  GEIST_TRY(writer.commit());
  progress.finish();
  return {};
}

int convert(const ConvertOptions& options) {
  const auto plan = make_plan(options);
  if (!plan.ok()) return fail(plan.error());
  if (const Status status = write_plan(*plan, options.output); !status.ok())
    return fail(status.error());
  note("%s: %zu tensors, %s", options.output.c_str(), plan->tensors.size(),
       human_bytes(static_cast<double>(plan->bytes())).c_str());
  return kDone;
}

}  // namespace

Command convert_command() {
  return {
      "convert", "Make a GGUF file of a Hugging Face folder or a llama2.c checkpoint",
      "geist convert ./SmolLM2-135M-Instruct smollm2.gguf\n"
      "geist convert ./model model-f16.gguf --type F16\n"
      "geist convert stories15M.bin stories15M.gguf\n"
      "geist convert ./peft-adapter adapter.gguf --base model.gguf",
      [](CLI::App& app) -> std::function<int()> {
        auto options = std::make_shared<ConvertOptions>();
        app.add_option(
               "input", options->input,
               "a folder with config.json, model.safetensors (or shards) and tokenizer.json, or a "
               "llama2.c .bin")
            ->required();
        app.add_option("output", options->output, "the GGUF file to write")->required();
        app.add_option("--type", options->type, "of matrices; by default as they are stored")
            ->check(CLI::IsMember({"F32", "F16", "BF16"}, CLI::ignore_case));
        app.add_option("--base", options->base, "the model of a PEFT adapter");
        app.add_option("--tokenizer", options->tokenizer, "tokenizer.bin of a llama2.c checkpoint");
        return [options] { return convert(*options); };
      }};
}

}  // namespace geist::cli
