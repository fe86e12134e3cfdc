// A llama of a well-known shape with random weights, for benchmarks: speed does not depend on what
// the weights are, and a file that anyone can make again needs no download.
//
// usage: make_model SHAPE TYPE OUT.gguf       SHAPE: 135m, 1b or 7b; TYPE: F16, Q4_0, Q4_K_M, ...
//
// Matrices of a quantised file get the mix of types of `geist quantize`. A matrix repeats a few
// rows of random weights, each quantised once.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "gguf/gguf.h"
#include "kernels/block.h"
#include "model/quantize_mix.h"

namespace geist {
namespace {

using gguf::Value;
using kernels::TensorType;

constexpr int64_t kDistinctRows = 61;  // not a multiple of any tile

struct LlamaShape {
  std::string_view name;
  int64_t layers, embedding, feed_forward, heads, kv_heads, vocab, context;
  bool tied;
};
constexpr LlamaShape kShapes[] = {
    {"135m", 30, 576, 1536, 9, 3, 49152, 32768, true},     // SmolLM2-135M
    {"1b", 22, 2048, 5632, 32, 4, 32000, 32768, false},    // TinyLlama 1.1B
    {"7b", 32, 4096, 11008, 32, 32, 32000, 32768, false},  // Llama 2 7B
};

std::vector<gguf::Tensor> tensors_of(const LlamaShape& s) {
  std::vector<gguf::Tensor> out;
  const auto matrix = [&](std::string name, int64_t cols, int64_t rows) {
    out.push_back({std::move(name), TensorType::kF16, {cols, rows}, {}});
  };
  const auto vector = [&](std::string name, int64_t length) {
    out.push_back({std::move(name), TensorType::kF32, {length}, {}});
  };
  const int64_t kv = s.embedding / s.heads * s.kv_heads;
  matrix("token_embd.weight", s.embedding, s.vocab);
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    vector(block + "attn_norm.weight", s.embedding);
    matrix(block + "attn_q.weight", s.embedding, s.embedding);
    matrix(block + "attn_k.weight", s.embedding, kv);
    matrix(block + "attn_v.weight", s.embedding, kv);
    matrix(block + "attn_output.weight", s.embedding, s.embedding);
    vector(block + "ffn_norm.weight", s.embedding);
    matrix(block + "ffn_gate.weight", s.embedding, s.feed_forward);
    matrix(block + "ffn_up.weight", s.embedding, s.feed_forward);
    matrix(block + "ffn_down.weight", s.feed_forward, s.embedding);
  }
  vector("output_norm.weight", s.embedding);
  if (!s.tied) matrix("output.weight", s.embedding, s.vocab);
  return out;
}

// The bytes of SentencePiece and as many made-up words as the vocabulary has room for.
void add_vocabulary(const LlamaShape& s, gguf::Metadata& metadata) {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<int32_t> types = {2, 3, 3};  // unknown, control, control
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", byte);
    tokens.emplace_back(text);
    types.push_back(6);  // byte
  }
  while (static_cast<int64_t>(tokens.size()) < s.vocab) {
    tokens.push_back("\xe2\x96\x81w" + std::to_string(tokens.size()));
    types.push_back(1);  // normal
  }
  metadata["tokenizer.ggml.model"] = Value::string("llama");
  metadata["tokenizer.ggml.scores"] = Value::f32s(std::vector<float>(tokens.size(), 0.0f));
  metadata["tokenizer.ggml.tokens"] = Value::strings(std::move(tokens));
  metadata["tokenizer.ggml.token_type"] = Value::i32s(std::move(types));
  metadata["tokenizer.ggml.bos_token_id"] = Value::u32(1);
  metadata["tokenizer.ggml.eos_token_id"] = Value::u32(2);
}

gguf::Metadata metadata_of(const LlamaShape& s, model::FileType type) {
  const auto u32 = [](int64_t v) { return Value::u32(static_cast<uint32_t>(v)); };
  gguf::Metadata metadata;
  metadata["general.architecture"] = Value::string("llama");
  metadata["general.name"] = Value::string("random " + std::string(s.name));
  metadata["general.file_type"] = Value::u32(static_cast<uint32_t>(type));
  metadata["llama.block_count"] = u32(s.layers);
  metadata["llama.context_length"] = u32(s.context);
  metadata["llama.embedding_length"] = u32(s.embedding);
  metadata["llama.feed_forward_length"] = u32(s.feed_forward);
  metadata["llama.attention.head_count"] = u32(s.heads);
  metadata["llama.attention.head_count_kv"] = u32(s.kv_heads);
  metadata["llama.attention.layer_norm_rms_epsilon"] = Value::f32(1e-5f);
  metadata["llama.rope.dimension_count"] = u32(s.embedding / s.heads);
  metadata["llama.vocab_size"] = u32(s.vocab);
  add_vocabulary(s, metadata);
  return metadata;
}

std::vector<std::byte> random_tensor(const gguf::Tensor& tensor, TensorType type) {
  const int64_t cols = tensor.columns();
  const auto bytes = static_cast<size_t>(kernels::row_bytes(type, cols).value());
  RandomStream random(1, tensor.name);
  std::vector<float> row(static_cast<size_t>(cols));
  std::vector<std::byte> rows(bytes * static_cast<size_t>(std::min(kDistinctRows, tensor.rows())));
  const bool norm = tensor.dims.size() == 1;
  for (size_t at = 0; at < rows.size(); at += bytes) {
    for (float& x : row)
      x = norm ? 1.0f : 0.02f * (2.0f * static_cast<float>(random.next_double()) - 1.0f);
    kernels::quantize_row(type, row.data(), cols, rows.data() + at);
  }
  std::vector<std::byte> out(bytes * static_cast<size_t>(tensor.rows()));
  for (size_t at = 0; at < out.size(); at += rows.size())
    std::memcpy(out.data() + at, rows.data(), std::min(rows.size(), out.size() - at));
  return out;
}

Status make(const LlamaShape& shape, model::FileType type, const std::string& path) {
  const gguf::Metadata metadata = metadata_of(shape, type);
  const std::vector<gguf::Tensor> tensors = tensors_of(shape);
  GEIST_ASSIGN(const auto choices, model::choose_tensor_types(metadata, tensors, type));
  std::vector<gguf::TensorToWrite> to_write;
  for (size_t i = 0; i < tensors.size(); ++i)
    to_write.push_back({tensors[i].name, choices[i].type, tensors[i].dims});
  GEIST_ASSIGN(gguf::Writer writer, gguf::Writer::create(path, metadata, to_write));
  for (size_t i = 0; i < tensors.size(); ++i)
    GEIST_TRY(writer.write_tensor(random_tensor(tensors[i], choices[i].type)));
  return writer.commit();
}

int run(int argc, char** argv) {
  const LlamaShape* shape = nullptr;
  for (const LlamaShape& s : kShapes)
    if (argc == 4 && s.name == argv[1]) shape = &s;
  const auto type = argc == 4 ? model::file_type_from_name(argv[2]) : std::nullopt;
  if (shape == nullptr || !type) {
    std::fprintf(stderr,
                 "usage: make_model 135m|1b|7b F16|BF16|Q8_0|Q4_0|Q4_K_M|Q5_K_M|Q6_K OUT.gguf\n");
    return 2;
  }
  if (const Status status = make(*shape, *type, argv[3]); !status) {
    std::fprintf(stderr, "make_model: %s\n", status.error().message.c_str());
    return 1;
  }
  return 0;
}

}  // namespace
}  // namespace geist

int main(int argc, char** argv) { return geist::run(argc, argv); }
