// Writes a model with random weights for each architecture, and what this program computes from it,
// for a comparison with another program (compare.py):
//
//   oracle_models FOLDER TYPE...     e.g. oracle_models /tmp/oracle F32 Q8_0
//
// FOLDER/NAME.TYPE.gguf is the model, with a toy vocabulary so that others load it; NAME.TYPE.f32
// its logits after each of the tokens [count, vocab], or one pooled embedding; index.json says
// which.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/thread_pool.h"
#include "gguf/gguf.h"
#include "kernels/block.h"
#include "model/model.h"
#include "tests/support/random_model.h"
#include "tests/support/tiny_model.h"

namespace geist {
namespace {

using gguf::Value;

// Longer than every sliding window (24) and every original context (32 and 64) of the variants.
constexpr int32_t kTokens = 200;
constexpr uint64_t kSeed = 7;

std::vector<text::TokenId> make_tokens() {
  std::vector<text::TokenId> out;
  for (int32_t i = 0; i < kTokens; ++i) out.push_back(3 + (i * 37 + i * i * 11) % 280);
  return out;
}

gguf::Metadata with_vocabulary(gguf::Metadata metadata, int64_t size,
                               const std::string& architecture, bool embeds) {
  testing::TinyVocabulary v = testing::tiny_vocabulary();
  for (size_t i = 0; v.tokens.size() < static_cast<size_t>(size); ++i)
    v.add("filler" + std::to_string(i), -100.0f - static_cast<float>(i), 1);
  metadata["general.name"] = Value::string("random");  // llama.cpp acts on names such as "phi3"
  metadata["tokenizer.ggml.model"] = Value::string("llama");
  metadata["tokenizer.ggml.tokens"] = Value::strings(v.tokens);
  metadata["tokenizer.ggml.scores"] = Value::f32s(v.scores);
  metadata["tokenizer.ggml.token_type"] = Value::i32s(v.types);
  metadata["tokenizer.ggml.bos_token_id"] = Value::u32(1);
  metadata["tokenizer.ggml.eos_token_id"] = Value::u32(2);
  metadata["tokenizer.ggml.unknown_token_id"] = Value::u32(0);
  metadata["tokenizer.ggml.add_bos_token"] = Value::boolean(false);
  if (embeds) metadata[architecture + ".pooling_type"] = Value::u32(1);  // mean
  return metadata;
}

Status write_model(const gguf::File& file, gguf::Metadata metadata, const std::string& path) {
  std::vector<gguf::TensorToWrite> tensors;
  for (const gguf::Tensor& t : file.tensors()) tensors.push_back({t.name, t.type, t.dims});
  GEIST_ASSIGN(gguf::Writer writer, gguf::Writer::create(path, std::move(metadata), tensors));
  for (const gguf::Tensor& t : file.tensors()) GEIST_TRY(writer.write_tensor(t.data));
  return writer.commit();
}

// The same weights as F32: what both programs round differently.
gguf::File dequantised(const gguf::File& file) {
  auto bytes = std::make_shared<std::vector<std::vector<float>>>();
  std::vector<gguf::Tensor> tensors;
  for (const gguf::Tensor& t : file.tensors()) {
    std::vector<float> values(static_cast<size_t>(t.rows() * t.columns()));
    const auto row_bytes = static_cast<size_t>(*kernels::row_bytes(t.type, t.columns()));
    for (int64_t r = 0; r < t.rows(); ++r)
      kernels::dequantize_row(t.type, t.data.data() + static_cast<size_t>(r) * row_bytes,
                              t.columns(), values.data() + r * t.columns());
    bytes->push_back(std::move(values));
    tensors.push_back(
        {t.name, kernels::TensorType::kF32, t.dims, std::as_bytes(std::span(bytes->back()))});
  }
  return gguf::File::assemble(file.metadata(), std::move(tensors), bytes, "dequantised");
}

Status write_floats(const std::vector<float>& values, const std::string& path) {
  return write_file(path,
                    {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
}

std::vector<float> compute(const model::Model& m, bool embeds) {
  const model::Config& config = m.config();
  const std::vector<text::TokenId> tokens = make_tokens();
  ThreadPool pool(1);
  model::Sequence sequence;
  model::reserve(config, sequence, kTokens);
  std::vector<model::BatchToken> batch;
  for (int32_t i = 0; i < kTokens; ++i)
    batch.push_back({tokens[static_cast<size_t>(i)], &sequence, i});
  const int32_t row = embeds ? config.embedding_length : config.vocab_size;
  std::vector<float> rows(static_cast<size_t>(kTokens) * static_cast<size_t>(row));
  const model::WorkspacePtr workspace = model::Model::make_workspace();
  m.forward(batch, embeds ? model::Output::kHidden : model::Output::kLogits, *workspace, pool,
            rows.data());
  if (!embeds) return rows;
  std::vector<float> pooled(static_cast<size_t>(row));
  model::pool_embedding(m, rows, pooled.data());
  return pooled;
}

Result<nlohmann::json> write_variant(const std::string& name, kernels::TensorType type,
                                     const std::string& folder) {
  const std::string type_name(kernels::tensor_type_info(type).name);
  const std::string stem = folder + "/" + name + "." + type_name;
  const gguf::File random = testing::random_model(name, type, kSeed, testing::Shape::kDeep);
  GEIST_ASSIGN(const auto found, gguf::get_string(random.metadata(), "general.architecture"));
  const std::string architecture = found.value_or("");
  const bool embeds = architecture.find("bert") != std::string::npos;
  const int64_t vocabulary = random.find("token_embd.weight")->rows();
  GEIST_TRY(write_model(random,
                        with_vocabulary(random.metadata(), vocabulary, architecture, embeds),
                        stem + ".gguf"));
  GEIST_ASSIGN(gguf::File written, gguf::File::open(stem + ".gguf"));
  GEIST_ASSIGN(const auto loaded, model::Model::load(std::move(written)));
  const std::vector<float> rows = compute(*loaded, embeds);
  GEIST_TRY(write_floats(rows, stem + ".f32"));
  if (type != kernels::TensorType::kF32) {
    GEIST_ASSIGN(const auto exact, model::Model::load(dequantised(loaded->file())));
    GEIST_TRY(write_floats(compute(*exact, embeds), stem + ".exact.f32"));
  }
  return nlohmann::json{{"name", name},
                        {"architecture", architecture},
                        {"type", type_name},
                        {"stem", stem},
                        {"embeds", embeds},
                        {"row", rows.size() / (embeds ? 1 : kTokens)},
                        {"mixture", loaded->config().expert.count > 0}};
}

Status write_all(const std::string& folder, std::span<char*> types) {
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) return errorf("%s: cannot be made: %s", folder.c_str(), failed.message().c_str());
  nlohmann::json models = nlohmann::json::array();
  for (const char* type_name : types) {
    const std::optional<kernels::TensorType> type = kernels::tensor_type_from_name(type_name);
    if (!type) return errorf("'%s' is no type of weights", type_name);
    for (const std::string& name : testing::random_model_variants()) {
      GEIST_ASSIGN(nlohmann::json entry, write_variant(name, *type, folder));
      models.push_back(std::move(entry));
    }
  }
  return write_file(folder + "/index.json",
                    nlohmann::json{{"tokens", make_tokens()}, {"models", models}}.dump(1));
}

}  // namespace
}  // namespace geist

int main(int argc, char** argv) {
  if (argc < 3) return std::fputs("usage: oracle_models FOLDER TYPE...\n", stderr), 2;
  const geist::Status status =
      geist::write_all(argv[1], std::span(argv, static_cast<size_t>(argc)).subspan(2));
  if (!status.ok()) std::fprintf(stderr, "oracle_models: %s\n", status.error().message.c_str());
  return status.ok() ? 0 : 1;
}
