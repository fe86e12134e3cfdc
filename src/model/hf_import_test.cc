#include "model/hf_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "base/file.h"
#include "model/hf_arch.h"
#include "model/hf_tokenizer.h"
#include "model/load_tokenizer.h"
#include "model/model.h"
#include "tests/support/safetensors_bytes.h"
#include "tests/support/shared_data.h"

namespace geist::model {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

using testing::HfTensor;
using testing::HfTensors;
using testing::safetensors_bytes;

HfTensor f32_tensor(std::vector<int64_t> shape, float start = 0) {
  HfTensor tensor{"F32", std::move(shape), {}};
  int64_t count = 1;
  for (const int64_t dim : tensor.shape) count *= dim;
  for (int64_t i = 0; i < count; ++i) {
    const float value = start + static_cast<float>(i);
    tensor.bytes.append(reinterpret_cast<const char*>(&value), 4);
  }
  return tensor;
}

std::vector<float> floats(const gguf::Tensor& tensor) {
  EXPECT_EQ(tensor.type, kernels::TensorType::kF32);
  std::vector<float> values(tensor.data.size() / 4);
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

constexpr const char* kBpe = R"({"version":"1.0","added_tokens":[
  {"id":4,"content":"<s>","special":true},{"id":5,"content":"</s>","special":true}],
  "normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
  "post_processor":null,"decoder":{"type":"ByteLevel"},
  "model":{"type":"BPE","vocab":{"a":0,"b":1,"c":2,"ab":3},"merges":["a b"]}})";
constexpr const char* kWordPiece = R"({"version":"1.0","added_tokens":[
  {"id":0,"content":"[PAD]","special":true},{"id":1,"content":"[UNK]","special":true},
  {"id":2,"content":"[CLS]","special":true},{"id":3,"content":"[SEP]","special":true}],
  "normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},
  "pre_tokenizer":{"type":"BertPreTokenizer"},
  "post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},
    {"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],"pair":[],
    "special_tokens":{"[CLS]":{"id":"[CLS]","ids":[2],"tokens":["[CLS]"]},"[SEP]":{"id":"[SEP]","ids":[3],"tokens":["[SEP]"]}}},
  "decoder":{"type":"WordPiece","prefix":"##","cleanup":true},
  "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,
    "vocab":{"[PAD]":0,"[UNK]":1,"[CLS]":2,"[SEP]":3,"a":4,"##b":5}}})";

class HfImport : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::path(::testing::TempDir()) /
        (std::string("hf_") + ::testing::UnitTest::GetInstance()->current_test_info()->name() +
         "_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void put(const std::string& name, const std::string& text) const {
    ASSERT_TRUE(write_file((folder_ / name).string(), text).ok());
  }
  void put_model(const std::string& config, const HfTensors& tensors,
                 const char* tokenizer = kBpe) const {
    put("config.json", config);
    put("model.safetensors", safetensors_bytes(tensors));
    put("tokenizer.json", tokenizer);
  }
  Result<gguf::File> import() const { return import_hf(folder_.string()); }
  std::string import_error() const {
    const auto file = import();
    return file.ok() ? "no error" : file.error().message;
  }
  fs::path folder_;
};

// ---- against models that another implementation wrote
// ---------------------------------------------------------------
//
// Each golden GGUF file is taken apart into what transformers would have saved, by the definitions
// of its modelling code, and imported: tensors must come back to the byte, and the numbers of
// config.json as the keys of the file.

struct GoldenCase {
  const char* name;        // of the golden file
  const char* model_type;  // of config.json
  const char* config;      // the rest of it
};

void PrintTo(const GoldenCase& golden, std::ostream* out) { *out << golden.name; }

constexpr const char* kLlamaNumbers =
    R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":112,
       "max_position_embeddings":256,"rms_norm_eps":1e-5,"rope_theta":10000.0,"tie_word_embeddings":false)";
constexpr const char* kPhi2Numbers =
    R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":4,"intermediate_size":128,
       "max_position_embeddings":256,"layer_norm_eps":1e-5,"rope_theta":10000.0,"partial_rotary_factor":0.5)";

const GoldenCase kGolden[] = {
    {"llama-gqa", "llama", kLlamaNumbers},
    {"llama-f16", "llama", kLlamaNumbers},
    {"llama-tied-mha", "llama",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":112,
        "max_position_embeddings":256,"rms_norm_eps":1e-6,"rope_theta":10000.0,"tie_word_embeddings":true)"},
    {"llama-rope-llama3", "llama",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,
        "intermediate_size":112,"max_position_embeddings":256,"rms_norm_eps":1e-5,"rope_theta":500000.0,
        "rope_scaling":{"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,
                        "original_max_position_embeddings":64,"rope_type":"llama3"})"},
    {"llama-rope-yarn", "llama",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,
        "intermediate_size":112,"max_position_embeddings":256,"rms_norm_eps":1e-5,"rope_theta":10000.0,
        "rope_scaling":{"factor":4.0,"original_max_position_embeddings":64,"type":"yarn"})"},
    {"mistral-nemo", "mistral",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,
        "intermediate_size":112,"max_position_embeddings":256,"rms_norm_eps":1e-5,"sliding_window":null,
        "rope_parameters":{"rope_theta":1000000.0,"rope_type":"default"})"},
    {"mixtral", "mixtral",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":64,
        "max_position_embeddings":256,"rms_norm_eps":1e-5,"rope_theta":1e6,"num_local_experts":4,"num_experts_per_tok":2)"},
    {"qwen2", "qwen2",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":112,
        "max_position_embeddings":256,"rms_norm_eps":1e-6,"rope_theta":1000000.0,"tie_word_embeddings":true)"},
    {"qwen3", "qwen3",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,
        "intermediate_size":112,"max_position_embeddings":256,"rms_norm_eps":1e-6,"rope_theta":1000000)"},
    {"gemma2", "gemma2",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,
        "intermediate_size":96,"max_position_embeddings":256,"rms_norm_eps":1e-6,"rope_theta":10000.0,
        "sliding_window":24,"attn_logit_softcapping":5.0,"final_logit_softcapping":6.0,"query_pre_attn_scalar":32)"},
    {"phi3", "phi3",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":112,
        "max_position_embeddings":256,"original_max_position_embeddings":256,"rms_norm_eps":1e-5,"rope_theta":10000.0,
        "rope_scaling":null,"sliding_window":2047)"},
    {"phi2", "phi", kPhi2Numbers},
    {"gptneox", "gpt_neox",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":128,
        "max_position_embeddings":256,"layer_norm_eps":1e-5,"rotary_emb_base":10000,"rotary_pct":0.25,
        "use_parallel_residual":true)"},
    {"gpt2", "gpt2",
     R"("n_embd":64,"n_layer":2,"n_head":4,"n_positions":256,"n_ctx":256,"n_inner":128,"layer_norm_epsilon":1e-5)"},
    {"falcon-7b", "falcon",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_kv_heads":4,"multi_query":true,
        "new_decoder_architecture":false,"parallel_attn":true,"ffn_hidden_size":128,"alibi":false,"bias":false,"layer_norm_epsilon":1e-5,
        "max_position_embeddings":256,"rope_theta":10000.0)"},
    {"stablelm", "stablelm",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":4,"intermediate_size":112,
        "max_position_embeddings":256,"layer_norm_eps":1e-5,"rope_theta":10000,"partial_rotary_factor":0.25,
        "use_parallel_residual":false)"},
    {"command-r", "cohere",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":112,
        "max_position_embeddings":256,"layer_norm_eps":1e-5,"rope_theta":8000000.0,"logit_scale":0.5)"},
    {"olmo2", "olmo2",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":112,
        "max_position_embeddings":256,"rms_norm_eps":1e-6,"rope_theta":500000)"},
    {"granite", "granite",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":112,
        "max_position_embeddings":256,"rms_norm_eps":1e-5,"rope_theta":10000.0,"attention_multiplier":0.1,
        "embedding_multiplier":6.0,"residual_multiplier":0.4,"logits_scaling":2.0)"},
    {"bert", "bert",
     R"("hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,"intermediate_size":128,
        "max_position_embeddings":256,"layer_norm_eps":1e-12,"type_vocab_size":2,"position_embedding_type":"absolute")"},
};

using RowOf =
    std::function<int64_t(int64_t)>;  // where row r of the transformers tensor lies in the GGUF one

std::string gather_rows(const std::string& bytes, int64_t rows, const RowOf& row_of) {
  const size_t length = bytes.size() / static_cast<size_t>(rows);
  std::string out;
  for (int64_t r = 0; r < rows; ++r)
    out += bytes.substr(static_cast<size_t>(row_of(r)) * length, length);
  return out;
}

std::string transposed(const std::string& bytes, int64_t rows, int64_t columns) {
  std::string out;
  for (int64_t c = 0; c < columns; ++c)
    for (int64_t r = 0; r < rows; ++r)
      out += bytes.substr(static_cast<size_t>(r * columns + c) * 4, 4);
  return out;
}

std::string minus_one(std::string bytes) {
  for (size_t i = 0; i < bytes.size(); i += 4) {
    float value;
    std::memcpy(&value, bytes.data() + i, 4);
    value -= 1.0f;  // exact from 0.5 to 2
    std::memcpy(bytes.data() + i, &value, 4);
  }
  return bytes;
}

// Undoes `op` by the definition of the transformers module that owns the tensor.
HfTensor undo(TensorOp op, HfTensor tensor, int64_t heads, int64_t kv_heads) {
  const int64_t rows = tensor.shape[0];
  switch (op) {
    case TensorOp::kAddOne:
      tensor.bytes = minus_one(tensor.bytes);
      break;
    case TensorOp::kTranspose:
      if (tensor.shape.size() < 2) break;
      tensor.bytes = transposed(tensor.bytes, rows, tensor.shape[1]);
      std::swap(tensor.shape[0], tensor.shape[1]);
      break;
    case TensorOp::kRopeQ:
    case TensorOp::kRopeK: {
      // rotate_half: element i of a head turns with element i + n/2.
      const int64_t n = rows / (op == TensorOp::kRopeQ ? heads : kv_heads);
      tensor.bytes = gather_rows(tensor.bytes, rows, [n](int64_t r) {
        const int64_t head = r / n, i = r % n;
        return head * n + (i < n / 2 ? 2 * i : 2 * (i - n / 2) + 1);
      });
      break;
    }
    case TensorOp::kQkvByHead: {
      // view(heads, 3, n)
      const int64_t n = rows / (3 * heads);
      tensor.bytes = gather_rows(tensor.bytes, rows, [=](int64_t r) {
        const int64_t head = r / (3 * n), part = r / n % 3;
        return part * heads * n + head * n + r % n;
      });
      break;
    }
    default:
      break;  // falcon with one group of heads is [q; k; v] already
  }
  return tensor;
}

const TensorRule* rule_for(const HfArch& arch, std::string_view stem) {
  for (const auto& rules : arch.rules)
    for (const TensorRule& rule : rules)
      if (rule.gguf == stem) return &rule;
  return nullptr;
}

std::string replaced(std::string_view pattern, const std::vector<std::string>& numbers) {
  std::string out;
  size_t next = 0;
  for (const char c : pattern) out += c == '#' ? numbers.at(next++) : std::string(1, c);
  return out;
}

void take_apart(const gguf::Tensor& tensor, const HfArch& arch, const Config& shape,
                HfTensors* out) {
  if (tensor.name == "rope_freqs.weight") return;  // config.json makes it
  std::string stem = tensor.name, block;
  if (stem.starts_with("blk.")) {
    block = stem.substr(4, stem.find('.', 4) - 4);
    stem = "blk.#" + stem.substr(4 + block.size());
  }
  const std::string ending = stem.substr(stem.rfind('.'));
  stem.resize(stem.size() - ending.size());
  const TensorRule* rule = rule_for(arch, stem);
  ASSERT_NE(rule, nullptr) << tensor.name;
  HfTensor hf{tensor.type == kernels::TensorType::kF16 ? "F16" : "F32",
              {tensor.dims.rbegin(), tensor.dims.rend()},
              std::string(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size())};
  if (rule->op != TensorOp::kExpert) {
    (*out)[replaced(rule->hf, {block}) + ending] =
        undo(rule->op, std::move(hf), shape.head_count, shape.head_count_kv);
    return;
  }
  const size_t bytes = hf.bytes.size() / static_cast<size_t>(hf.shape[0]);
  for (size_t i = 0; i < static_cast<size_t>(hf.shape[0]); ++i)
    (*out)[replaced(rule->hf, {block, std::to_string(i)}) + ending] = {
        hf.dtype, {hf.shape[1], hf.shape[2]}, hf.bytes.substr(i * bytes, bytes)};
}

void expect_same_keys(const gguf::Metadata& imported, const gguf::Metadata& golden) {
  for (const auto& [key, value] : golden) {
    if (key.starts_with("tokenizer.") || key == "general.name") continue;
    if (key.ends_with("rope.scaling.finetuned") || key.ends_with("pooling_type"))
      continue;  // not in config.json
    const auto entry = imported.find(key);
    ASSERT_NE(entry, imported.end()) << key << " is missing";
    EXPECT_EQ(entry->second.type, value.type) << key;
    EXPECT_EQ(entry->second.data, value.data) << key;
  }
}

class HfGolden : public HfImport, public ::testing::WithParamInterface<GoldenCase> {};

TEST_P(HfGolden, ImportsToTheSameFile) {
  const auto path = geist::testing::shared_path("data/golden/dev/models/" +
                                                std::string(GetParam().name) + ".gguf");
  if (!path) GTEST_SKIP() << "no golden models; set GEIST_SHARED";
  auto golden = gguf::File::open(*path);
  ASSERT_TRUE(golden.ok()) << golden.error().message;
  auto again = gguf::File::open(*path);
  ASSERT_TRUE(again.ok());
  auto model = Model::load(std::move(*again));
  ASSERT_TRUE(model.ok()) << model.error().message;
  const HfArch* arch = find_hf_arch(GetParam().model_type);
  ASSERT_NE(arch, nullptr);
  HfTensors tensors;
  for (const gguf::Tensor& tensor : golden->tensors())
    take_apart(tensor, *arch, (*model)->config(), &tensors);
  put_model(
      "{\"model_type\":\"" + std::string(GetParam().model_type) + "\"," + GetParam().config + "}",
      tensors, arch->gguf == "bert" ? kWordPiece : kBpe);

  const auto imported = import();
  ASSERT_TRUE(imported.ok()) << imported.error().message;
  EXPECT_EQ(imported->tensors().size(), golden->tensors().size());
  for (const gguf::Tensor& want : golden->tensors()) {
    const gguf::Tensor* have = imported->find(want.name);
    ASSERT_NE(have, nullptr) << want.name;
    EXPECT_EQ(have->type, want.type) << want.name;
    ASSERT_EQ(have->dims, want.dims) << want.name;
    if (std::memcmp(have->data.data(), want.data.data(), want.data.size()) == 0) continue;
    // Taking one away and adding it rounds below one half.
    ASSERT_TRUE(arch->gguf.starts_with("gemma") && want.dims.size() == 1)
        << want.name << " differs";
    const std::vector<float> a = floats(*have), b = floats(want);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 0x1p-24) << want.name;
  }
  expect_same_keys(imported->metadata(), golden->metadata());
}

std::string case_name(const ::testing::TestParamInfo<GoldenCase>& info) {
  std::string name = info.param.name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}
INSTANTIATE_TEST_SUITE_P(Models, HfGolden, ::testing::ValuesIn(kGolden), case_name);

// ---- what the golden files do not have
// ----------------------------------------------------------------------------

std::string tiny_config(const std::string& model_type, const std::string& more = "") {
  return R"({"hidden_size":4,"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":1,"intermediate_size":6,
             "max_position_embeddings":16,"model_type":")" +
         model_type + "\"" + (more.empty() ? "" : "," + more) + "}";
}

TEST_F(HfImport, FalconGroupsOfHeads) {
  // Two groups of two query heads, heads of one row: rows are q0 q1 k0 v0 q2 q3 k1 v1.
  put_model(
      R"({"model_type":"falcon","hidden_size":4,"num_hidden_layers":1,"num_attention_heads":4,"num_kv_heads":2,
                "new_decoder_architecture":true})",
      {{"transformer.word_embeddings.weight", f32_tensor({8, 4})},
       {"transformer.h.0.self_attention.query_key_value.weight", f32_tensor({8, 1})},
       {"transformer.h.0.ln_attn.weight", f32_tensor({4}, 100)},
       {"transformer.h.0.ln_mlp.weight", f32_tensor({4}, 200)}});
  const auto file = import();
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_THAT(floats(*file->find("blk.0.attn_qkv.weight")),
              ::testing::ElementsAre(0, 1, 4, 5, 2, 6, 3, 7));
  EXPECT_EQ(floats(*file->find("blk.0.attn_norm.weight"))[0], 200);
  EXPECT_EQ(floats(*file->find("blk.0.attn_norm_2.weight"))[0], 100);
  EXPECT_EQ(*gguf::get_int(file->metadata(), "falcon.attention.head_count_kv").value(), 2);
}

TEST_F(HfImport, GraniteSplitsFusedExperts) {
  put_model(tiny_config("granitemoe", R"("num_local_experts":2,"num_experts_per_tok":1)"),
            {{"model.embed_tokens.weight", f32_tensor({6, 4})},
             {"model.layers.0.block_sparse_moe.input_linear.weight", f32_tensor({2, 4, 2})},
             {"model.layers.0.block_sparse_moe.output_linear.weight", f32_tensor({2, 2, 2})},
             {"model.layers.0.block_sparse_moe.router.layer.weight", f32_tensor({2, 4})}});
  const auto file = import();
  ASSERT_TRUE(file.ok()) << file.error().message;
  const gguf::Tensor* gate = file->find("blk.0.ffn_gate_exps.weight");
  ASSERT_NE(gate, nullptr);
  EXPECT_EQ(gate->dims, (std::vector<int64_t>{2, 2, 2}));
  EXPECT_THAT(floats(*gate), ::testing::ElementsAre(0, 1, 2, 3, 8, 9, 10, 11));
  EXPECT_THAT(floats(*file->find("blk.0.ffn_up_exps.weight")),
              ::testing::ElementsAre(4, 5, 6, 7, 12, 13, 14, 15));
  EXPECT_EQ(*gguf::get_int(file->metadata(), "granitemoe.expert_count").value(), 2);
}

TEST_F(HfImport, StableLmStacksNormsOfHeads) {
  put_model(tiny_config("stablelm"),
            {{"model.embed_tokens.weight", f32_tensor({6, 4})},
             {"model.layers.0.self_attn.q_layernorm.norms.0.weight", f32_tensor({2}, 1)},
             {"model.layers.0.self_attn.q_layernorm.norms.1.weight", f32_tensor({2}, 5)}});
  const auto file = import();
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(file->find("blk.0.attn_q_norm.weight")->dims, (std::vector<int64_t>{2, 2}));
  EXPECT_THAT(floats(*file->find("blk.0.attn_q_norm.weight")), ::testing::ElementsAre(1, 2, 5, 6));
}

TEST_F(HfImport, Gemma3OfSeveralModalities) {
  put_model(
      R"({"model_type":"gemma3","text_config":{"model_type":"gemma3_text","hidden_size":4,"num_hidden_layers":2,
                "num_attention_heads":2,"num_key_value_heads":1,"head_dim":2,"intermediate_size":6,"sliding_window":8,
                "layer_types":["sliding_attention","full_attention"],"query_pre_attn_scalar":8,
                "rope_theta":1000000.0,"rope_local_base_freq":10000.0,"rope_scaling":{"factor":8.0,"rope_type":"linear"}},
                "vision_config":{}})",
      {{"language_model.model.embed_tokens.weight", f32_tensor({6, 4})},
       {"language_model.model.norm.weight", f32_tensor({4})},
       {"vision_tower.vision_model.embeddings.patch_embedding.weight", f32_tensor({2})},
       {"multi_modal_projector.mm_soft_emb_norm.weight", f32_tensor({2})}});
  const auto file = import();
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_THAT(floats(*file->find("output_norm.weight")), ::testing::ElementsAre(1, 2, 3, 4));
  const gguf::Metadata& m = file->metadata();
  EXPECT_EQ(*gguf::get_ints(m, "gemma3.attention.sliding_window_pattern").value(),
            (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(*gguf::get_float(m, "gemma3.rope.freq_base_swa").value(), 10000.0);
  EXPECT_EQ(*gguf::get_float(m, "gemma3.rope.scaling.factor").value(), 8.0);
  EXPECT_FLOAT_EQ(static_cast<float>(*gguf::get_float(m, "gemma3.attention.scale").value()),
                  0.353553391f);
}

TEST_F(HfImport, LongRopeFactors) {
  put_model(tiny_config("phi3", R"("original_max_position_embeddings":4,
      "rope_scaling":{"type":"longrope","long_factor":[2.5],"short_factor":[1.5]})"),
            {{"model.embed_tokens.weight", f32_tensor({6, 4})}});
  const auto file = import();
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_THAT(floats(*file->find("rope_factors_long.weight")), ::testing::ElementsAre(2.5f));
  EXPECT_THAT(floats(*file->find("rope_factors_short.weight")), ::testing::ElementsAre(1.5f));
  // sqrt(1 + log(16 / 4) / log(4))
  EXPECT_FLOAT_EQ(static_cast<float>(
                      *gguf::get_float(file->metadata(), "phi3.rope.scaling.attn_factor").value()),
                  1.41421356f);
}

TEST_F(HfImport, TokenizerTemplateAndEnds) {
  put_model(tiny_config("llama", R"("bos_token_id":4,"eos_token_id":[5,3])"),
            {{"model.embed_tokens.weight", f32_tensor({8, 4})}});
  put("tokenizer_config.json",
      R"({"chat_template":[{"name":"tool_use","template":"T"},{"name":"default","template":"D"}]})");
  const auto file = import();
  ASSERT_TRUE(file.ok()) << file.error().message;
  const auto tokens = gguf::get_strings(file->metadata(), "tokenizer.ggml.tokens").value();
  ASSERT_EQ(tokens->size(), 8u) << "one a row";
  EXPECT_EQ(tokens->at(7), "[PAD7]");
  EXPECT_EQ(*gguf::get_int(file->metadata(), "tokenizer.ggml.bos_token_id").value(), 4);
  EXPECT_EQ(*gguf::get_int(file->metadata(), "tokenizer.ggml.eos_token_id").value(), 5);
  EXPECT_EQ(*gguf::get_int(file->metadata(), "tokenizer.ggml.eot_token_id").value(), 3);
  EXPECT_EQ(load_chat_template(file->metadata()).value(), "D");
  const auto tokenizer = load_tokenizer(file->metadata());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("abc"), (std::vector<text::TokenId>{3, 2}));
  put("chat_template.jinja", "J");
  EXPECT_EQ(load_chat_template(import()->metadata()).value(), "J") << "the file beside goes first";
}

TEST_F(HfImport, TypesOfMatrices) {
  put_model(tiny_config("llama"), {{"model.embed_tokens.weight", f32_tensor({6, 4})},
                                   {"model.norm.weight", f32_tensor({4})}});
  const auto plan = plan_hf_import(folder_.string(), kernels::TensorType::kBF16);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  ASSERT_EQ(plan->tensors.size(), 2u);
  EXPECT_EQ(plan->tensors[0].shape.type, kernels::TensorType::kBF16);
  EXPECT_EQ(plan->tensors[1].shape.type, kernels::TensorType::kF32) << "vectors stay F32";
  std::vector<std::byte> bytes(plan->tensors[0].bytes());
  plan->tensors[0].fill(bytes);
  uint16_t third;
  std::memcpy(&third, bytes.data() + 6, 2);
  EXPECT_EQ(third, 0x4040) << "3.0 as bfloat16";
  EXPECT_EQ(*gguf::get_int(plan->metadata, "general.file_type").value(), 32);
}

TEST_F(HfImport, SaysWhatDoesNotFit) {
  const HfTensors embedding = {{"model.embed_tokens.weight", f32_tensor({6, 4})}};
  EXPECT_THAT(import_error(), HasSubstr("config.json"));
  put_model(tiny_config("mamba"), embedding);
  EXPECT_THAT(import_error(), HasSubstr("'mamba' is not supported; supported are llama, "));
  put_model(tiny_config("llama", R"("rms_norm_eps":"x")"), embedding);
  EXPECT_THAT(import_error(), HasSubstr("\"rms_norm_eps\" must be a number"));
  put_model(
      R"({"model_type":"llama","hidden_size":4,"num_hidden_layers":1,"num_attention_heads":0})",
      embedding);
  EXPECT_THAT(import_error(), HasSubstr("num_attention_heads is 0"));
  put_model(tiny_config("llama", R"("quantization_config":{"quant_method":"gptq"})"), embedding);
  EXPECT_THAT(import_error(), HasSubstr("quantised"));
  put_model(tiny_config("llama", R"("rope_scaling":{"rope_type":"dynamic","factor":2})"),
            embedding);
  EXPECT_THAT(import_error(), HasSubstr("'dynamic' is not supported"));
  put_model(tiny_config("llama"), {{"model.norm.weight", f32_tensor({4})}});
  EXPECT_THAT(import_error(), HasSubstr("no token embedding"));
  put_model(tiny_config("llama", R"("tie_word_embeddings":false)"), embedding);
  EXPECT_THAT(import_error(), HasSubstr("no output matrix"));
  put_model(tiny_config("llama"), embedding);
  fs::remove(folder_ / "tokenizer.json");
  EXPECT_THAT(import_error(), HasSubstr("tokenizer.json is missing"));
}

TEST_F(HfImport, TensorsWithoutAPlace) {
  const auto with = [&](const char* name, HfTensor tensor) {
    put_model(tiny_config("llama"),
              {{"model.embed_tokens.weight", f32_tensor({6, 4})}, {name, std::move(tensor)}});
    return import_error();
  };
  EXPECT_EQ(with("model.layers.0.self_attn.rotary_emb.inv_freq", f32_tensor({1})), "no error");
  EXPECT_THAT(with("model.layers.0.self_attn.surprise.weight", f32_tensor({4})),
              HasSubstr("no place"));
  EXPECT_THAT(with("model.layers.7.mlp.up_proj.weight", f32_tensor({4, 4})),
              HasSubstr("beyond num_hidden_layers"));
  EXPECT_THAT(with("model.layers.0.self_attn.q_proj.weight", f32_tensor({6, 4})),
              HasSubstr("even number of rows"));
  EXPECT_THAT(with("model.layers.0.mlp.up_proj.weight", f32_tensor({0, 4})), HasSubstr("empty"));
  EXPECT_THAT(with("model.layers.0.block_sparse_moe.experts.1.w1.weight", f32_tensor({4, 4})),
              HasSubstr("no predecessor"));
  EXPECT_THAT(with("model.layers.0.mlp.up_proj.weight", {"I8", {2, 2}, "abcd"}),
              HasSubstr("not floating-point"));
}

// ---- published tokenizers
// --------------------------------------------------------------------------------------------

TEST(HfImportReal, TokenizersKeepTheirMeaning) {
  const auto folder = geist::testing::shared_path("data/tokenizers/hf");
  if (!folder) GTEST_SKIP() << "no data/tokenizers/hf; set GEIST_SHARED";
  constexpr std::string_view kText =
      "Hello  World, it's 2024!\n\n\t北京 ça va? \xf0\x9f\x98\x80 \xff def f(x):\n    return x";
  int count = 0;
  for (const auto& entry : fs::directory_iterator(*folder)) {
    const fs::path json = entry.path() / "tokenizer.json",
                   config = entry.path() / "tokenizer_config.json";
    if (!fs::exists(json)) continue;
    const auto direct = text::Tokenizer::from_tokenizer_json(
        read_file(json.string()).value(),
        fs::exists(config) ? read_file(config.string()).value() : "");
    ASSERT_TRUE(direct.ok()) << direct.error().message;
    gguf::Metadata metadata;
    const Status status = add_hf_tokenizer(entry.path().string(), direct->size() + 7, &metadata);
    ASSERT_TRUE(status.ok()) << status.error().message;
    const auto through_gguf = load_tokenizer(metadata);
    ASSERT_TRUE(through_gguf.ok()) << through_gguf.error().message;
    EXPECT_EQ(through_gguf->encode(kText), direct->encode(kText)) << entry.path();
    EXPECT_EQ(through_gguf->decode(direct->encode(kText)), direct->decode(direct->encode(kText)))
        << entry.path();
    // GGUF has no way to say that there is no BOS; it is not added, at least.
    EXPECT_EQ(through_gguf->vocabulary().add_bos, direct->vocabulary().add_bos) << entry.path();
    EXPECT_EQ(through_gguf->vocabulary().eos, direct->vocabulary().eos) << entry.path();
    ++count;
  }
  EXPECT_GT(count, 0);
}

// ---- a published chat model
// ------------------------------------------------------------------------------------------

std::string greedy_reply(const Model& model, const text::Tokenizer& tokenizer,
                         const std::string& prompt, int count) {
  ThreadPool pool(2);
  const WorkspacePtr workspace = Model::make_workspace();
  Sequence sequence;
  std::vector<text::TokenId> next = tokenizer.encode(prompt,
                                                     {.add_special = true, .parse_special = true}),
                             reply;
  std::vector<float> logits(static_cast<size_t>(model.config().vocab_size));
  for (int i = 0; i < count; ++i) {
    int32_t pos = reserve(model.config(), sequence, static_cast<int32_t>(next.size()));
    std::vector<BatchToken> batch;
    for (const text::TokenId id : next)
      batch.push_back({.id = id, .sequence = &sequence, .pos = pos++, .want_output = false});
    batch.back().want_output = true;
    model.forward(batch, Output::kLogits, *workspace, pool, logits.data());
    const auto best =
        static_cast<text::TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    if (tokenizer.is_end(best)) break;
    reply.push_back(best);
    next = {best};
  }
  return tokenizer.decode(reply);
}

TEST(HfImportReal, ChatModelAnswers) {
  const auto folder = geist::testing::shared_path("data/models/minimind2-small");
  if (!folder) GTEST_SKIP() << "no data/models/minimind2-small; set GEIST_SHARED";
  auto file = import_hf(*folder);
  ASSERT_TRUE(file.ok()) << file.error().message;
  const auto tokenizer = load_tokenizer(file->metadata());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto chat_template = load_chat_template(file->metadata());
  ASSERT_TRUE(chat_template.ok());
  EXPECT_THAT(chat_template->value_or(""), HasSubstr("<|im_start|>"));
  const auto model = Model::load(std::move(*file));
  ASSERT_TRUE(model.ok()) << model.error().message;
  const std::string reply =
      greedy_reply(**model, *tokenizer,
                   "<|im_start|>system\nYou are a helpful assistant<|im_end|>\n"
                   "<|im_start|>user\n中国的首都是哪里？<|im_end|>\n<|im_start|>assistant\n",
                   24);
  EXPECT_THAT(reply, HasSubstr("北京"));
}

}  // namespace
}  // namespace geist::model
