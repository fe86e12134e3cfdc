// A llama of 0.1 million random weights with a byte-level vocabulary and a chat template: enough of
// a model to test everything that runs one, made in memory or written as a file.
#pragma once

#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "gguf/gguf.h"

namespace geist::testing {

inline constexpr int32_t kTinyContext = 256;
inline constexpr const char* kTinyTemplate =
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}";

struct TinyVocabulary {
  std::vector<std::string> tokens;
  std::vector<float> scores;
  std::vector<int32_t> types;
  void add(std::string token, float score, int32_t type) {
    tokens.push_back(std::move(token));
    scores.push_back(score);
    types.push_back(type);
  }
};

inline TinyVocabulary tiny_vocabulary() {
  TinyVocabulary v;
  v.add("<unk>", 0, 2);
  v.add("<s>", 0, 3);
  v.add("</s>", 0, 3);
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof text, "<0x%02X>", static_cast<unsigned>(byte));
    v.add(text, 0, 6);
  }
  v.add("\xe2\x96\x81", -1, 1);
  for (char c = 'a'; c <= 'z'; ++c)
    v.add(std::string(1, c), -2.0f - static_cast<float>(c - 'a'), 1);
  return v;
}

inline gguf::Metadata tiny_metadata() {
  using gguf::Value;
  const TinyVocabulary v = tiny_vocabulary();
  gguf::Metadata m;
  m["general.architecture"] = Value::string("llama");
  m["general.name"] = Value::string("tiny");
  m["llama.context_length"] = Value::u32(kTinyContext);
  m["llama.embedding_length"] = Value::u32(64);
  m["llama.block_count"] = Value::u32(2);
  m["llama.feed_forward_length"] = Value::u32(96);
  m["llama.attention.head_count"] = Value::u32(4);
  m["llama.attention.head_count_kv"] = Value::u32(2);
  m["llama.attention.layer_norm_rms_epsilon"] = Value::f32(1e-5f);
  m["llama.rope.dimension_count"] = Value::u32(16);
  m["tokenizer.ggml.model"] = Value::string("llama");
  m["tokenizer.ggml.tokens"] = Value::strings(v.tokens);
  m["tokenizer.ggml.scores"] = Value::f32s(v.scores);
  m["tokenizer.ggml.token_type"] = Value::i32s(v.types);
  m["tokenizer.ggml.bos_token_id"] = Value::u32(1);
  m["tokenizer.ggml.eos_token_id"] = Value::u32(2);
  m["tokenizer.ggml.unknown_token_id"] = Value::u32(0);
  m["tokenizer.ggml.add_bos_token"] = Value::boolean(true);
  m["tokenizer.chat_template"] = Value::string(kTinyTemplate);
  return m;
}

struct TinyTensor {
  std::string name;
  std::vector<int64_t> dims;
  std::vector<float> values;
};

inline std::vector<TinyTensor> tiny_tensors() {
  RandomStream random(1, "tiny_model");
  std::vector<TinyTensor> out;
  // Uniform in +-scale; a norm's weights lie around 1.
  const auto add = [&](const std::string& name, std::vector<int64_t> dims, double scale,
                       double center) {
    TinyTensor tensor{name, std::move(dims), {}};
    int64_t count = 1;
    for (const int64_t dim : tensor.dims) count *= dim;
    for (int64_t i = 0; i < count; ++i) {
      tensor.values.push_back(static_cast<float>(center + (random.next_double() * 2 - 1) * scale));
    }
    out.push_back(std::move(tensor));
  };
  const auto vocab = static_cast<int64_t>(tiny_vocabulary().tokens.size());
  add("token_embd.weight", {64, vocab}, 1, 0);
  add("output_norm.weight", {64}, 0.2, 1);
  add("output.weight", {64, vocab}, 0.4, 0);
  for (int i = 0; i < 2; ++i) {
    const std::string block = "blk." + std::to_string(i) + ".";
    add(block + "attn_norm.weight", {64}, 0.2, 1);
    add(block + "attn_q.weight", {64, 64}, 0.25, 0);
    add(block + "attn_k.weight", {64, 32}, 0.25, 0);
    add(block + "attn_v.weight", {64, 32}, 0.25, 0);
    add(block + "attn_output.weight", {64, 64}, 0.25, 0);
    add(block + "ffn_norm.weight", {64}, 0.2, 1);
    add(block + "ffn_gate.weight", {64, 96}, 0.25, 0);
    add(block + "ffn_up.weight", {64, 96}, 0.25, 0);
    add(block + "ffn_down.weight", {96, 64}, 0.25, 0);
  }
  return out;
}

inline gguf::File tiny_model() {
  const auto owned = std::make_shared<const std::vector<TinyTensor>>(tiny_tensors());
  std::vector<gguf::Tensor> tensors;
  for (const TinyTensor& tensor : *owned) {
    tensors.push_back({tensor.name, kernels::TensorType::kF32, tensor.dims,
                       std::as_bytes(std::span(tensor.values))});
  }
  return gguf::File::assemble(tiny_metadata(), std::move(tensors), owned, "tiny");
}

inline Status write_tiny_model(const std::string& path) {
  const std::vector<TinyTensor> tensors = tiny_tensors();
  std::vector<gguf::TensorToWrite> list;
  for (const TinyTensor& tensor : tensors)
    list.push_back({tensor.name, kernels::TensorType::kF32, tensor.dims});
  auto writer = gguf::Writer::create(path, tiny_metadata(), std::move(list));
  if (!writer.ok()) return writer.error();
  for (const TinyTensor& tensor : tensors) {
    if (Status status = writer->write_tensor(std::as_bytes(std::span(tensor.values))); !status)
      return status;
  }
  return writer->commit();
}

}  // namespace geist::testing
