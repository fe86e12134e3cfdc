#include "model/llama2c_import.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "model/hf_tokenizer.h"
#include "model/model.h"
#include "tests/support/shared_data.h"

namespace geist::model {
namespace {

using ::testing::HasSubstr;

void append(std::string* out, const void* data, size_t size) {
  out->append(static_cast<const char*>(data), size);
}

// dim 4, hidden 6, one layer, two heads, one key head, three tokens and a context of five.
std::string tiny_checkpoint(bool tied) {
  const int32_t header[7] = {4, 6, 1, 2, 1, tied ? 3 : -3, 5};
  std::string out;
  append(&out, header, sizeof header);
  const int count =
      3 * 4 + 4 + 16 + 8 + 8 + 16 + 4 + 24 + 24 + 24 + 4 + 2 * 5 * 1 + (tied ? 0 : 3 * 4);
  for (int i = 0; i < count; ++i) {
    const auto value = static_cast<float>(i);
    append(&out, &value, sizeof value);
  }
  return out;
}

std::string tiny_tokenizer() {
  std::string out(4, '\0');
  for (const char* token : {"u", "b", "e"}) {
    const float score = 0;
    const int32_t length = 1;
    append(&out, &score, 4);
    append(&out, &length, 4);
    out += token;
  }
  return out;
}

Result<ImportPlan> plan_of(const std::string& checkpoint, const std::string& tokenizer) {
  return plan_llama2c_import(std::as_bytes(std::span(checkpoint)),
                             std::as_bytes(std::span(tokenizer)), "m.bin");
}

float first_value(const gguf::File& file, std::string_view name) {
  float value;
  std::memcpy(&value, file.find(name)->data.data(), sizeof value);
  return value;
}

TEST(Llama2c, OrderOfWeights) {
  const std::string checkpoint = tiny_checkpoint(false), tokenizer = tiny_tokenizer();
  auto plan = plan_of(checkpoint, tokenizer);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const gguf::File file = assemble(std::move(*plan));
  EXPECT_EQ(first_value(file, "token_embd.weight"), 0);
  EXPECT_EQ(first_value(file, "blk.0.attn_norm.weight"), 12);
  EXPECT_EQ(first_value(file, "blk.0.attn_q.weight"), 16);
  EXPECT_EQ(first_value(file, "blk.0.attn_output.weight"), 48);
  EXPECT_EQ(first_value(file, "blk.0.ffn_gate.weight"), 68);
  EXPECT_EQ(first_value(file, "blk.0.ffn_down.weight"), 92);
  EXPECT_EQ(first_value(file, "blk.0.ffn_up.weight"), 116);
  EXPECT_EQ(first_value(file, "output_norm.weight"), 140);
  EXPECT_EQ(first_value(file, "output.weight"), 154) << "after the tables of sine and cosine";
  EXPECT_EQ(file.find("blk.0.ffn_down.weight")->dims, (std::vector<int64_t>{6, 4}));
  const auto tied = plan_of(tiny_checkpoint(true), tokenizer);
  ASSERT_TRUE(tied.ok());
  EXPECT_EQ(tied->tensors.size() + 1, file.tensors().size()) << "a tied model has no output matrix";
}

TEST(Llama2c, VocabularyInTheSameFile) {
  const std::string both = tiny_checkpoint(true) + tiny_tokenizer();
  const auto plan = plan_of(both, "");
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  EXPECT_EQ(*gguf::get_strings(plan->metadata, "tokenizer.ggml.tokens").value(),
            (std::vector<std::string>{"<unk>", "<s>", "</s>"}));
}

TEST(Llama2cHostile, TruncatedAtEveryByte) {
  const std::string checkpoint = tiny_checkpoint(false), tokenizer = tiny_tokenizer();
  for (size_t size = 0; size < checkpoint.size(); ++size) {
    const std::vector<char> part(checkpoint.begin(),
                                 checkpoint.begin() + static_cast<ptrdiff_t>(size));
    EXPECT_FALSE(plan_llama2c_import(std::as_bytes(std::span(part)),
                                     std::as_bytes(std::span(tokenizer)), "m")
                     .ok());
  }
  for (size_t size = 1; size < tokenizer.size(); ++size)
    EXPECT_FALSE(plan_of(checkpoint, tokenizer.substr(0, size)).ok()) << size;
}

TEST(Llama2cHostile, Numbers) {
  const auto with = [](int index, int32_t value) {
    std::string checkpoint = tiny_checkpoint(true);
    std::memcpy(checkpoint.data() + 4 * index, &value, sizeof value);
    const auto plan = plan_of(checkpoint, tiny_tokenizer());
    return plan.ok() ? "no error" : plan.error().message;
  };
  EXPECT_THAT(with(0, 0), HasSubstr("not a llama2.c checkpoint"));
  EXPECT_THAT(with(0, -4), HasSubstr("not a llama2.c checkpoint"));
  EXPECT_THAT(with(0, 1 << 20), HasSubstr("cut short"));
  EXPECT_THAT(with(2, 1 << 20), HasSubstr("cut short"));
  EXPECT_THAT(with(3, 3), HasSubstr("not a llama2.c checkpoint")) << "heads do not divide";
  EXPECT_THAT(with(4, 3), HasSubstr("not a llama2.c checkpoint"));
  EXPECT_THAT(with(5, INT32_MIN), HasSubstr("not a llama2.c checkpoint"));
  EXPECT_THAT(with(6, -1), HasSubstr("not a llama2.c checkpoint"));
  EXPECT_THAT(plan_llama2c_import("absent.bin").error().message, HasSubstr("absent.bin"));
}

TEST(Llama2cGolden, EqualsTheReferenceConversion) {
  const auto checkpoint = geist::testing::shared_path("data/models/stories260K.bin");
  const auto reference = geist::testing::shared_path("data/golden/dev/models/stories260K.gguf");
  if (!checkpoint || !reference) GTEST_SKIP() << "no stories260K; set GEIST_SHARED";
  auto plan = plan_llama2c_import(*checkpoint);
  ASSERT_TRUE(plan.ok()) << plan.error().message;
  const gguf::File have = assemble(std::move(*plan));
  const auto want = gguf::File::open(*reference);
  ASSERT_TRUE(want.ok()) << want.error().message;
  ASSERT_EQ(have.metadata().size(), want->metadata().size());
  for (const auto& [key, value] : want->metadata()) {
    EXPECT_EQ(have.metadata().at(key).type, value.type) << key;
    EXPECT_EQ(have.metadata().at(key).data, value.data) << key;
  }
  ASSERT_EQ(have.tensors().size(), want->tensors().size());
  for (const gguf::Tensor& tensor : want->tensors()) {
    const gguf::Tensor* other = have.find(tensor.name);
    ASSERT_NE(other, nullptr) << tensor.name;
    EXPECT_EQ(other->dims, tensor.dims) << tensor.name;
    EXPECT_EQ(std::memcmp(other->data.data(), tensor.data.data(), tensor.data.size()), 0)
        << tensor.name;
  }
}

}  // namespace
}  // namespace geist::model
