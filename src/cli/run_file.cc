#include "cli/run_file.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>

namespace geist::cli {
namespace {

using kernels::TensorType;

constexpr std::array kTypes = {TensorType::kF32,  TensorType::kF16,  TensorType::kBF16,
                               TensorType::kQ8_0, TensorType::kQ4_0, TensorType::kQ6_K};

// The pre-tokenizers of byte-level BPE, as run/geist.c lists them.
constexpr std::array<std::string_view, 31> kPreTokenizers = {"llama3",      "llama-v3",
                                                             "llama-bpe",   "falcon3",
                                                             "falcon-h1",   "pixtral",
                                                             "midm-2.0",    "lfm2",
                                                             "dbrx",        "smaug-bpe",
                                                             "chatglm-bpe", "glm4",
                                                             "qwen2",       "deepseek-r1-qwen",
                                                             "stablelm2",   "hunyuan",
                                                             "megrez",      "smollm",
                                                             "starcoder",   "refact",
                                                             "command-r",   "codeshell",
                                                             "exaone",      "minerva-7b",
                                                             "gpt-2",       "phi-2",
                                                             "olmo",        "mpt",
                                                             "jais",        "mellum",
                                                             "exaone4"};

Result<std::string> text_of(const gguf::File& file, std::string_view key) {
  GEIST_ASSIGN(const std::optional<std::string> text, gguf::get_string(file.metadata(), key));
  return text.value_or("");
}

Error unread(const gguf::File& file, const std::string& what) {
  return Error{file.name() + ": the run file does not read " + what + "; geist run does"};
}

}  // namespace

Status check_run_file_reads(const gguf::File& file) {
  GEIST_ASSIGN(const std::string architecture, text_of(file, "general.architecture"));
  if (architecture != "llama") return unread(file, "the architecture '" + architecture + "'");
  GEIST_ASSIGN(const std::optional<int64_t> experts,
               gguf::get_int(file.metadata(), "llama.expert_count"));
  if (experts.value_or(0) > 0) return unread(file, "mixtures of experts");
  GEIST_ASSIGN(const std::string scaling, text_of(file, "llama.rope.scaling.type"));
  if (!scaling.empty() && scaling != "linear" && scaling != "none")
    return unread(file, "RoPE scaling '" + scaling + "'");
  GEIST_ASSIGN(const std::string tokenizer, text_of(file, "tokenizer.ggml.model"));
  GEIST_ASSIGN(const std::string pre, text_of(file, "tokenizer.ggml.pre"));
  const bool known =
      std::find(kPreTokenizers.begin(), kPreTokenizers.end(), pre) != kPreTokenizers.end();
  if (tokenizer != "llama" && !(tokenizer == "gpt2" && known))
    return unread(file, "the tokenizer '" + tokenizer + "/" + pre + "'");
  for (const gguf::Tensor& tensor : file.tensors()) {
    if (tensor.name.ends_with(".bias")) return unread(file, "biases");
    if (std::find(kTypes.begin(), kTypes.end(), tensor.type) != kTypes.end()) continue;
    const std::string type(kernels::tensor_type_info(tensor.type).name);
    return Error{file.name() + ": the run file does not read " + type +
                 " tensors; make a file of another type with geist quantize MODEL OUT Q8_0"};
  }
  return {};
}

}  // namespace geist::cli
