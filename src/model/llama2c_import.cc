#include "model/llama2c_import.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/checked.h"
#include "base/file.h"
#include "gguf/safetensors.h"
#include "model/hf_tensor.h"
#include "model/hf_tokenizer.h"

namespace geist::model {
namespace {

namespace fs = std::filesystem;
using gguf::SafeTensor;

constexpr int32_t kNumberMax = 1 << 20;
constexpr size_t kHeaderBytes = 7 * sizeof(int32_t);

struct Header {
  int32_t dim, hidden_dim, layers, heads, kv_heads, vocab_size, context;
  bool tied;
};

Result<Header> read_header(std::span<const std::byte> bytes, const std::string& name) {
  int32_t n[7];
  if (bytes.size() < sizeof n)
    return errorf("%s: the file is cut short at byte %zu of at least %zu needed; download it again",
                  name.c_str(), bytes.size(), sizeof n);
  std::memcpy(n, bytes.data(), sizeof n);
  Header header{n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[5] > 0};
  if (header.vocab_size < 0 && header.vocab_size > -kNumberMax)
    header.vocab_size = -header.vocab_size;
  for (const int32_t value : {header.dim, header.hidden_dim, header.layers, header.heads,
                              header.kv_heads, header.vocab_size, header.context})
    if (value < 1 || value > kNumberMax)
      return errorf("%s: not a llama2.c checkpoint (a number of its header is %d)", name.c_str(),
                    value);
  if (header.dim % header.heads != 0 || header.heads % header.kv_heads != 0 ||
      header.dim / header.heads % 2 != 0)
    return errorf("%s: not a llama2.c checkpoint (%d dimensions, %d heads, %d key heads)",
                  name.c_str(), header.dim, header.heads, header.kv_heads);
  return header;
}

// The weights as they follow each other, each [layers of it,] row-major.
class Weights {
 public:
  Weights(std::span<const std::byte> bytes, const std::string& name) : bytes_(bytes), name_(name) {}

  // count matrices (or vectors: rows 0) named "blk.I.NAME", or one named NAME when count is 0.
  Status take(const std::string& name, int64_t count, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < std::max<int64_t>(count, 1); ++i) {
      SafeTensor tensor;
      tensor.name = count == 0 ? name : "blk." + std::to_string(i) + "." + name;
      tensor.dtype = gguf::Dtype::kF32;
      if (rows > 0) tensor.shape.push_back(rows);
      tensor.shape.push_back(columns);
      GEIST_ASSIGN(tensor.data, take_bytes(tensor.elements() * 4));
      tensors_.push_back(std::move(tensor));
    }
    return {};
  }
  Status skip(int64_t elements) {
    const auto skipped = take_bytes(elements * 4);
    return skipped.ok() ? Status() : Status(skipped.error());
  }
  size_t offset() const { return offset_; }
  std::vector<SafeTensor>& tensors() { return tensors_; }

 private:
  // At most 2^20 x 2^20 x 4 bytes: no overflow.
  Result<std::span<const std::byte>> take_bytes(int64_t size) {
    const auto count = static_cast<size_t>(size);
    if (bytes_.size() - offset_ < count)
      return errorf(
          "%s: the file is cut short at byte %zu of at least %zu needed; download it again",
          name_.c_str(), bytes_.size(), offset_ + count);
    const auto taken = bytes_.subspan(offset_, count);
    offset_ += count;
    return taken;
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  size_t offset_ = kHeaderBytes;
  std::vector<SafeTensor> tensors_;
};

Status take_weights(const Header& h, Weights* w) {
  const int64_t kv_dim = int64_t{h.dim} / h.heads * h.kv_heads;
  GEIST_TRY(w->take("token_embd.weight", 0, h.vocab_size, h.dim));
  GEIST_TRY(w->take("attn_norm.weight", h.layers, 0, h.dim));
  GEIST_TRY(w->take("attn_q.weight", h.layers, h.dim, h.dim));
  GEIST_TRY(w->take("attn_k.weight", h.layers, kv_dim, h.dim));
  GEIST_TRY(w->take("attn_v.weight", h.layers, kv_dim, h.dim));
  GEIST_TRY(w->take("attn_output.weight", h.layers, h.dim, h.dim));
  GEIST_TRY(w->take("ffn_norm.weight", h.layers, 0, h.dim));
  GEIST_TRY(w->take("ffn_gate.weight", h.layers, h.hidden_dim, h.dim));
  GEIST_TRY(w->take("ffn_down.weight", h.layers, h.dim, h.hidden_dim));
  GEIST_TRY(w->take("ffn_up.weight", h.layers, h.hidden_dim, h.dim));
  GEIST_TRY(w->take("output_norm.weight", 0, 0, h.dim));
  GEIST_TRY(w->skip(int64_t{h.context} * (h.dim / h.heads)));  // tables of sine and cosine
  return h.tied ? Status() : w->take("output.weight", 0, h.vocab_size, h.dim);
}

// tokenizer.bin: an int32, then score f32, length i32 and bytes for each token.
Result<text::Vocabulary> read_vocabulary(std::span<const std::byte> bytes, int32_t count,
                                         const std::string& name) {
  text::Vocabulary v;
  v.kind = text::TokenizerKind::kSentencePiece;
  v.bos = 1, v.eos = 2, v.unk = 0;
  v.add_bos = true;
  size_t offset = sizeof(int32_t);
  for (int32_t i = 0; i < count; ++i) {
    float score = 0;
    int32_t length = 0;
    if (bytes.size() < offset + 8 ||
        (std::memcpy(&score, bytes.data() + offset, 4),
         std::memcpy(&length, bytes.data() + offset + 4, 4), length < 0) ||
        bytes.size() - offset - 8 < static_cast<size_t>(length))
      return errorf(
          "%s: the vocabulary holds %d of the %d tokens of the model; give its tokenizer.bin",
          name.c_str(), i, count);
    std::string token(reinterpret_cast<const char*>(bytes.data()) + offset + 8,
                      static_cast<size_t>(length));
    offset += 8 + static_cast<size_t>(length);
    text::TokenType type = text::TokenType::kNormal;
    if (i < 3) {
      static constexpr const char* kSpecial[] = {"<unk>", "<s>", "</s>"};
      token = kSpecial[i];
      type = i == 0 ? text::TokenType::kUnknown : text::TokenType::kControl;
    } else if (i < 259) {
      char byte[8];
      std::snprintf(byte, sizeof byte, "<0x%02X>", static_cast<unsigned>(i - 3));
      token = byte;
      type = text::TokenType::kByte;
    } else {
      for (size_t at = 0; (at = token.find(' ', at)) != std::string::npos; at += 3)
        token.replace(at, 1, "\u2581");
    }
    v.tokens.push_back(std::move(token));
    v.scores.push_back(score);
    v.types.push_back(type);
  }
  return v;
}

gguf::Metadata make_metadata(const Header& h, const std::string& name, kernels::TensorType type) {
  using gguf::Value;
  const auto u32 = [](int32_t value) { return Value::u32(static_cast<uint32_t>(value)); };
  return {
      {"general.architecture", Value::string("llama")},
      {"general.name", Value::string(fs::path(name).stem().string())},
      {"general.file_type", Value::u32(file_type_number(type))},
      {"llama.context_length", u32(h.context)},
      {"llama.embedding_length", u32(h.dim)},
      {"llama.block_count", u32(h.layers)},
      {"llama.feed_forward_length", u32(h.hidden_dim)},
      {"llama.attention.head_count", u32(h.heads)},
      {"llama.attention.head_count_kv", u32(h.kv_heads)},
      {"llama.attention.layer_norm_rms_epsilon", Value::f32(1e-5f)},
      {"llama.rope.dimension_count", u32(h.dim / h.heads)},
      {"llama.rope.freq_base", Value::f32(10000.0f)},
      {"llama.vocab_size", u32(h.vocab_size)},
  };
}

Result<std::string> find_tokenizer(const std::string& checkpoint, int32_t vocab_size) {
  const fs::path folder = fs::path(checkpoint).parent_path();
  std::error_code ignored;
  for (const std::string& name :
       {std::string("tokenizer.bin"), "tok" + std::to_string(vocab_size) + ".bin"})
    if (fs::exists(folder / name, ignored)) return (folder / name).string();
  return errorf(
      "%s: its vocabulary is missing; put tokenizer.bin or tok%d.bin beside it or name it with "
      "--tokenizer",
      checkpoint.c_str(), vocab_size);
}

}  // namespace

Result<ImportPlan> plan_llama2c_import(std::span<const std::byte> checkpoint,
                                       std::span<const std::byte> tokenizer,
                                       const std::string& name, MatrixType matrix_type) {
  GEIST_ASSIGN(const Header header, read_header(checkpoint, name));
  Weights weights(checkpoint, name);
  GEIST_TRY(take_weights(header, &weights));
  if (tokenizer.empty()) tokenizer = checkpoint.subspan(weights.offset());
  GEIST_ASSIGN(const text::Vocabulary vocabulary,
               read_vocabulary(tokenizer, header.vocab_size, name));
  ImportPlan plan;
  plan.name = name;
  plan.metadata = make_metadata(header, name, matrix_type.value_or(kernels::TensorType::kF32));
  write_vocabulary(vocabulary, &plan.metadata);
  auto tensors = std::make_shared<const std::vector<SafeTensor>>(std::move(weights.tensors()));
  for (const SafeTensor& tensor : *tensors) {
    TensorRecipe recipe;
    recipe.name = tensor.name;
    recipe.sources = {&tensor};
    recipe.dims = {tensor.shape.rbegin(), tensor.shape.rend()};
    GEIST_ASSIGN(PlannedTensor planned, plan_tensor(std::move(recipe), matrix_type, name));
    plan.tensors.push_back(std::move(planned));
  }
  plan.source = std::move(tensors);
  return plan;
}

Result<ImportPlan> plan_llama2c_import(const std::string& checkpoint, const std::string& tokenizer,
                                       MatrixType matrix_type) {
  GEIST_ASSIGN(MappedFile file, MappedFile::open(checkpoint));
  auto mapped = std::make_shared<const MappedFile>(std::move(file));
  GEIST_ASSIGN(const Header header, read_header(mapped->bytes(), checkpoint));
  Weights weights(mapped->bytes(), checkpoint);
  GEIST_TRY(take_weights(header, &weights));
  const bool inside = tokenizer.empty() && weights.offset() < mapped->bytes().size();
  std::string vocabulary;
  std::vector<std::string> read_from = {checkpoint};
  if (!inside) {
    std::string path = tokenizer;
    if (path.empty()) {
      GEIST_ASSIGN(path, find_tokenizer(checkpoint, header.vocab_size));
    }
    GEIST_ASSIGN(vocabulary, read_file(path, size_t{64} << 20));
    read_from.push_back(std::move(path));
  }
  GEIST_ASSIGN(ImportPlan plan,
               plan_llama2c_import(mapped->bytes(), std::as_bytes(std::span(vocabulary)),
                                   checkpoint, matrix_type));
  plan.read_from = std::move(read_from);
  plan.source =
      std::make_shared<std::pair<std::shared_ptr<const void>, std::shared_ptr<const void>>>(
          std::move(plan.source), std::move(mapped));
  return plan;
}

}  // namespace geist::model
