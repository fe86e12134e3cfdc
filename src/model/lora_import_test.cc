#include "model/lora_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "tests/support/safetensors_bytes.h"

namespace geist::model {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::HfTensor;
using testing::HfTensors;

constexpr int64_t kHeads = 2, kKvHeads = 1, kHeadRows = 6;

Config base(const std::string& architecture = "llama") {
  Config config;
  config.architecture = architecture;
  config.head_count = kHeads;
  config.head_count_kv = kKvHeads;
  return config;
}

// Element i of the tensor is start + i.
HfTensor numbered(std::vector<int64_t> shape, float start) {
  HfTensor tensor{"F32", std::move(shape), {}};
  for (int64_t i = 0; i < tensor.shape[0] * tensor.shape[1]; ++i) {
    const float value = start + static_cast<float>(i);
    tensor.bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return tensor;
}

std::vector<float> floats(const gguf::File& file, const std::string& name) {
  const gguf::Tensor* tensor = file.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  if (tensor == nullptr) return {};
  std::vector<float> values(tensor->data.size() / sizeof(float));
  std::memcpy(values.data(), tensor->data.data(), tensor->data.size());
  return values;
}

class LoraImport : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::path(::testing::TempDir()) /
        (std::string("peft_") + ::testing::UnitTest::GetInstance()->current_test_info()->name() +
         "_" + std::to_string(::getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  Result<gguf::File> import(const std::string& config, const HfTensors& tensors,
                            const Config& model = base()) const {
    EXPECT_TRUE(write_file((folder_ / "adapter_config.json").string(), config).ok());
    EXPECT_TRUE(write_file((folder_ / "adapter_model.safetensors").string(),
                           testing::safetensors_bytes(tensors))
                    .ok());
    return open_adapter_file(folder_.string(), model);
  }
  std::string error(const std::string& config, const HfTensors& tensors,
                    const Config& model = base()) const {
    const auto file = import(config, tensors, model);
    return file.ok() ? "no error" : file.error().message;
  }
  fs::path folder_;
};

constexpr const char* kConfig = R"({"peft_type":"LORA","r":2,"lora_alpha":16,"bias":"none"})";
const std::string kLayer = "base_model.model.model.layers.3.";

HfTensors pair_of(const std::string& module, int64_t rank, int64_t in, int64_t out) {
  return {{module + ".lora_A.weight", numbered({rank, in}, 0)},
          {module + ".lora_B.weight", numbered({out, rank}, 1000)}};
}

TEST_F(LoraImport, NamesAndRowsAreTheModels) {
  HfTensors tensors = pair_of(kLayer + "self_attn.q_proj", 2, 5, kHeads * kHeadRows);
  tensors.merge(pair_of(kLayer + "self_attn.k_proj", 2, 5, kKvHeads * kHeadRows));
  tensors.merge(pair_of(kLayer + "mlp.down_proj", 2, 7, 5));
  tensors["base_model.model.model.embed_tokens.lora_embedding_A"] = numbered({2, 9}, 0);
  tensors["base_model.model.model.embed_tokens.lora_embedding_B"] = numbered({5, 2}, 50);
  tensors.merge(pair_of("base_model.model.lm_head", 2, 5, 9));
  const auto file = import(kConfig, tensors);
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(gguf::get_float(file->metadata(), "adapter.lora.alpha")->value(), 16);

  // transformers keeps a head's rotated pairs n/2 apart, GGUF's llama side by side.
  for (const auto& [name, heads] :
       {std::pair("blk.3.attn_q", kHeads), {"blk.3.attn_k", kKvHeads}}) {
    const auto b = floats(*file, std::string(name) + ".weight.lora_b");
    ASSERT_EQ(b.size(), static_cast<size_t>(heads * kHeadRows * 2));
    size_t at = 0;
    for (int64_t head = 0; head < heads; ++head)
      for (int64_t i = 0; i < kHeadRows / 2; ++i)
        for (int64_t half = 0; half < 2; ++half)
          for (int64_t r = 0; r < 2; ++r, ++at)
            EXPECT_EQ(b[at], 1000.0f + static_cast<float>(
                                           (head * kHeadRows + half * kHeadRows / 2 + i) * 2 + r));
    EXPECT_EQ(floats(*file, std::string(name) + ".weight.lora_a")[3], 3.0f);
  }
  EXPECT_EQ(floats(*file, "blk.3.ffn_down.weight.lora_b")[4], 1004.0f);
  EXPECT_EQ(file->find("blk.3.ffn_down.weight.lora_a")->dims, (std::vector<int64_t>{7, 2}));
  EXPECT_EQ(file->find("output.weight.lora_b")->dims, (std::vector<int64_t>{2, 9}));
  // The rows of the embedding's A are looked up by token: [vocabulary, rank].
  const gguf::Tensor* embedding = file->find("token_embd.weight.lora_a");
  ASSERT_NE(embedding, nullptr);
  EXPECT_EQ(embedding->dims, (std::vector<int64_t>{2, 9}));
  EXPECT_EQ(floats(*file, "token_embd.weight.lora_a")[2 * 4 + 1], 9.0f + 4.0f);
}

TEST_F(LoraImport, HalvesStayWhereTheArchitectureRotatesHalves) {
  const auto file = import(kConfig, pair_of(kLayer + "self_attn.q_proj", 2, 5, 12), base("qwen2"));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(floats(*file, "blk.3.attn_q.weight.lora_b")[5], 1005.0f);
}

TEST_F(LoraImport, RankStabilisedScalesAreFoldedIntoAlpha) {
  const char* config = R"({"lora_alpha":8,"use_rslora":true})";
  const auto file = import(config, pair_of(kLayer + "mlp.up_proj", 4, 5, 7));
  ASSERT_TRUE(file.ok()) << file.error().message;
  EXPECT_EQ(gguf::get_float(file->metadata(), "adapter.lora.alpha")->value(),
            16);  // 8 / sqrt 4 * 4
}

TEST_F(LoraImport, RefusesWhatItCannotApply) {
  const HfTensors good = pair_of(kLayer + "mlp.up_proj", 2, 5, 7);
  EXPECT_EQ(error(kConfig, good), "no error");
  EXPECT_THAT(error(R"({"use_dora":true})", good), HasSubstr("DoRA"));
  EXPECT_THAT(error(R"({"bias":"all"})", good), HasSubstr("biases"));
  EXPECT_THAT(error(R"({"peft_type":"IA3"})", good), HasSubstr("'IA3'"));
  EXPECT_THAT(error(R"({"alpha_pattern":{"up_proj":3}})", good), HasSubstr("alpha_pattern"));
  EXPECT_THAT(error(R"({"lora_alpha":"x"})", good), HasSubstr("lora_alpha"));
  EXPECT_THAT(error(R"({"lora_alpha":0})", good), HasSubstr("lora_alpha"));
  EXPECT_THAT(error("[]", good), HasSubstr("not a JSON object"));
  EXPECT_THAT(error(kConfig, {}), HasSubstr("empty"));
  EXPECT_THAT(error(kConfig, good, base("no-such")), HasSubstr("'no-such'"));
  EXPECT_THAT(error(kConfig, pair_of(kLayer + "self_attn.q_proj", 2, 5, 13)),
              HasSubstr("number of rows a head"));
  EXPECT_THAT(error(kConfig, pair_of(kLayer + "block_sparse_moe.experts.0.w1", 2, 5, 7)),
              HasSubstr("experts"));
  EXPECT_THAT(error(kConfig, pair_of(kLayer + "mlp.sideways", 2, 5, 7)), HasSubstr("no place"));
  HfTensors bad = good;
  bad.erase(kLayer + "mlp.up_proj.lora_B.weight");
  EXPECT_THAT(error(kConfig, bad), HasSubstr("no partner"));
  bad = good;
  bad["base_model.model.lm_head.weight"] = numbered({2, 2}, 0);
  EXPECT_THAT(error(kConfig, bad), HasSubstr("modules_to_save"));
  bad = good;
  bad[kLayer + "mlp.up_proj.lora_A.weight"] = numbered({0, 5}, 0);
  EXPECT_THAT(error(kConfig, bad), HasSubstr("is not a matrix"));
  bad[kLayer + "mlp.up_proj.lora_A.weight"] = {"I32", {2, 5}, std::string(40, 0)};
  EXPECT_THAT(error(kConfig, bad), HasSubstr("not floating-point"));
}

}  // namespace
}  // namespace geist::model
