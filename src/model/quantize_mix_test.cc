#include "model/quantize_mix.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "tests/support/shared_data.h"

namespace geist::model {
namespace {

using kernels::TensorType;

struct Shape {
  std::string arch = "llama";
  int blocks = 32;
  int64_t width = 4096, hidden = 11008;
  int heads = 32, kv_heads = 32, experts = 0;
  bool tied = false, fused_qkv = false;
};

struct Case {
  gguf::Metadata metadata;
  std::vector<gguf::Tensor> tensors;

  void add(const std::string& name, std::vector<int64_t> dims) {
    tensors.push_back({name, TensorType::kF32, std::move(dims), {}});
  }
};

Case make_case(const Shape& s) {
  Case c;
  const auto u32 = [&](const std::string& key, int value) {
    c.metadata[s.arch + key] = gguf::Value::u32(static_cast<uint32_t>(value));
  };
  c.metadata["general.architecture"] = gguf::Value::string(s.arch);
  u32(".block_count", s.blocks);
  u32(".attention.head_count", s.heads);
  u32(".attention.head_count_kv", s.kv_heads);
  if (s.experts > 0) u32(".expert_count", s.experts);
  const int64_t kv = s.width / s.heads * s.kv_heads;
  c.add("token_embd.weight", {s.width, 32000});
  if (!s.tied) c.add("output.weight", {s.width, 32000});
  c.add("output_norm.weight", {s.width});
  // Last block first: the order in the file must not matter.
  for (int b = s.blocks - 1; b >= 0; --b) {
    const std::string prefix = "blk." + std::to_string(b) + ".";
    if (s.fused_qkv) {
      c.add(prefix + "attn_qkv.weight", {s.width, s.width + 2 * kv});
    } else {
      c.add(prefix + "attn_q.weight", {s.width, s.width});
      c.add(prefix + "attn_k.weight", {s.width, kv});
      c.add(prefix + "attn_v.weight", {s.width, kv});
    }
    c.add(prefix + "attn_norm.weight", {s.width});
    c.add(prefix + "ffn_norm.weight", {s.width});
    c.add(prefix + "attn_output.weight", {s.width, s.width});
    if (s.experts > 0) {
      c.add(prefix + "ffn_gate_inp.weight", {s.width, s.experts});
      c.add(prefix + "ffn_gate_exps.weight", {s.width, s.hidden, s.experts});
      c.add(prefix + "ffn_up_exps.weight", {s.width, s.hidden, s.experts});
      c.add(prefix + "ffn_down_exps.weight", {s.hidden, s.width, s.experts});
    } else {
      c.add(prefix + "ffn_gate.weight", {s.width, s.hidden});
      c.add(prefix + "ffn_up.weight", {s.width, s.hidden});
      c.add(prefix + "ffn_down.weight", {s.hidden, s.width});
    }
  }
  return c;
}

class Chosen {
 public:
  Chosen(const Case& c, FileType type) {
    const auto choices = choose_tensor_types(c.metadata, c.tensors, type);
    EXPECT_TRUE(choices.ok());
    for (size_t i = 0; i < c.tensors.size(); ++i) {
      by_name_[c.tensors[i].name] = (*choices)[i];
      ++counts_[kernels::tensor_type_info((*choices)[i].type).name];
    }
  }
  std::string_view operator[](const std::string& name) const {
    return kernels::tensor_type_info(by_name_.at(name).type).name;
  }
  bool fallback(const std::string& name) const { return by_name_.at(name).fallback; }
  const std::map<std::string_view, int>& counts() const { return counts_; }

 private:
  std::map<std::string, TensorChoice> by_name_;
  std::map<std::string_view, int> counts_;
};

using Counts = std::map<std::string_view, int>;

// The counts that llama.cpp prints for well-known published files.
TEST(QuantizeMix, CountsOfPublishedFiles) {
  const Shape llama_7b;
  EXPECT_EQ(Chosen(make_case(llama_7b), FileType::kQ4_K_M).counts(),
            (Counts{{"F32", 65}, {"Q4_K", 193}, {"Q6_K", 33}}));
  EXPECT_EQ(Chosen(make_case(llama_7b), FileType::kQ5_K_M).counts(),
            (Counts{{"F32", 65}, {"Q5_K", 193}, {"Q6_K", 33}}));
  EXPECT_EQ(Chosen(make_case(llama_7b), FileType::kQ4_0).counts(),
            (Counts{{"F32", 65}, {"Q4_0", 225}, {"Q6_K", 1}}));
  EXPECT_EQ(Chosen(make_case(llama_7b), FileType::kQ8_0).counts(),
            (Counts{{"F32", 65}, {"Q8_0", 226}}));
  const Shape tinyllama{.blocks = 22, .width = 2048, .hidden = 5632, .kv_heads = 4};
  EXPECT_EQ(Chosen(make_case(tinyllama), FileType::kQ4_K_M).counts(),
            (Counts{{"F32", 45}, {"Q4_K", 135}, {"Q6_K", 21}}));
}

TEST(QuantizeMix, BlocksCountByNumberNotByFileOrder) {
  const Chosen chosen(make_case({}), FileType::kQ4_K_M);
  for (const int block : {0, 3, 6, 9, 27, 28, 31}) {
    const std::string prefix = "blk." + std::to_string(block);
    EXPECT_EQ(chosen[prefix + ".attn_v.weight"], "Q6_K") << block;
    EXPECT_EQ(chosen[prefix + ".ffn_down.weight"], "Q6_K") << block;
  }
  for (const int block : {4, 5, 7, 10, 26}) {
    const std::string prefix = "blk." + std::to_string(block);
    EXPECT_EQ(chosen[prefix + ".attn_v.weight"], "Q4_K") << block;
    EXPECT_EQ(chosen[prefix + ".ffn_down.weight"], "Q4_K") << block;
  }
}

TEST(QuantizeMix, TiedEmbeddingsAreTheOutput) {
  const Shape tied{.tied = true};
  EXPECT_EQ(Chosen(make_case(tied), FileType::kQ4_K_M)["token_embd.weight"], "Q6_K");
  EXPECT_EQ(Chosen(make_case(tied), FileType::kQ8_0)["token_embd.weight"], "Q8_0");
  EXPECT_EQ(Chosen(make_case(tied), FileType::kF16)["token_embd.weight"], "F16");
  EXPECT_EQ(Chosen(make_case({}), FileType::kQ4_K_M)["token_embd.weight"], "Q4_K");
}

TEST(QuantizeMix, EightExperts) {
  const Shape mixtral{.hidden = 14336, .kv_heads = 8, .experts = 8};
  const Chosen chosen(make_case(mixtral), FileType::kQ4_K_M);
  EXPECT_EQ(chosen["blk.5.attn_v.weight"], "Q8_0");
  EXPECT_EQ(chosen["blk.5.attn_k.weight"], "Q8_0");
  EXPECT_EQ(chosen["blk.5.attn_q.weight"], "Q4_K");
  EXPECT_EQ(chosen["blk.5.attn_output.weight"], "Q5_K");
  EXPECT_EQ(chosen["blk.5.ffn_gate_inp.weight"], "F32");
  EXPECT_EQ(chosen["blk.5.ffn_down_exps.weight"], "Q4_K");
  EXPECT_EQ(chosen["blk.6.ffn_down_exps.weight"], "Q6_K");
  EXPECT_EQ(Chosen(make_case(mixtral), FileType::kQ4_0)["blk.5.attn_v.weight"], "Q8_0");
  EXPECT_EQ(Chosen(make_case(mixtral), FileType::kQ5_K_M)["blk.5.attn_output.weight"], "Q5_K");
}

TEST(QuantizeMix, Falcon) {
  const Shape falcon{.arch = "falcon", .blocks = 32, .kv_heads = 1, .fused_qkv = true};
  const Chosen chosen(make_case(falcon), FileType::kQ4_K_M);
  EXPECT_EQ(chosen["output.weight"], "Q8_0");
  EXPECT_EQ(chosen["blk.0.attn_qkv.weight"], "Q6_K");
  EXPECT_EQ(chosen["blk.5.attn_qkv.weight"], "Q4_K");
  EXPECT_EQ(chosen["blk.1.ffn_down.weight"], "Q6_K");
  EXPECT_EQ(chosen["blk.2.ffn_down.weight"], "Q5_K");
  EXPECT_EQ(chosen["blk.5.ffn_down.weight"], "Q4_K");
}

TEST(QuantizeMix, SharedValuesOf70B) {
  Shape llama_70b{.blocks = 80, .width = 8192, .hidden = 28672, .heads = 64, .kv_heads = 8};
  EXPECT_EQ(Chosen(make_case(llama_70b), FileType::kQ4_K_M)["blk.11.attn_v.weight"], "Q5_K");
  llama_70b.kv_heads = 64;  // llama 1 65B
  EXPECT_EQ(Chosen(make_case(llama_70b), FileType::kQ4_K_M)["blk.11.attn_v.weight"], "Q4_K");
}

TEST(QuantizeMix, RowsThatDoNotFitFallBack) {
  const Chosen k4(
      make_case({.blocks = 22, .width = 896, .hidden = 4864, .heads = 14, .kv_heads = 2}),
      FileType::kQ4_K_M);
  EXPECT_EQ(k4["blk.5.attn_q.weight"], "Q5_0");
  EXPECT_TRUE(k4.fallback("blk.5.attn_q.weight"));
  EXPECT_EQ(k4["blk.0.attn_v.weight"], "Q8_0");
  EXPECT_EQ(k4["blk.5.ffn_down.weight"], "Q4_K");  // 4864 = 19 * 256
  EXPECT_FALSE(k4.fallback("blk.5.ffn_down.weight"));
  EXPECT_EQ(k4["output.weight"], "Q8_0");
  const Chosen k5(make_case({.width = 896, .heads = 14, .kv_heads = 2}), FileType::kQ5_K_M);
  EXPECT_EQ(k5["blk.5.attn_q.weight"], "Q5_1");
  const Chosen odd(make_case({.width = 72, .hidden = 200, .heads = 6, .kv_heads = 6}),
                   FileType::kQ4_0);
  EXPECT_EQ(odd["blk.5.attn_q.weight"], "F16");
  EXPECT_EQ(odd["output.weight"], "F16");
}

TEST(QuantizeMix, WhatIsKept) {
  Case c;
  c.metadata["general.architecture"] = gguf::Value::string("bert");
  c.add("position_embd.weight", {384, 512});
  c.add("token_types.weight", {384, 2});
  c.add("token_embd_norm.weight", {384});
  c.add("blk.0.attn_q.bias", {384});
  c.add("blk.0.attn_q.weight", {384, 384});
  c.add("rope_freqs.weight", {64});
  c.add("blk.0.column.weight", {384, 1});
  c.tensors.push_back({"blk.0.ids.weight", TensorType::kI32, {384, 384}, {}});
  const Chosen chosen(c, FileType::kQ8_0);
  EXPECT_EQ(chosen.counts(), (Counts{{"F32", 6}, {"I32", 1}, {"Q8_0", 1}}));
  EXPECT_EQ(chosen["blk.0.attn_q.weight"], "Q8_0");
}

TEST(QuantizeMix, MistypedMetadataIsAnError) {
  Case c = make_case({});
  c.metadata["llama.block_count"] = gguf::Value::string("32");
  EXPECT_FALSE(choose_tensor_types(c.metadata, c.tensors, FileType::kQ4_K_M).ok());
}

TEST(QuantizeMix, Names) {
  EXPECT_EQ(file_type_from_name("q4_k_m"), FileType::kQ4_K_M);
  EXPECT_EQ(file_type_from_name("BF16"), FileType::kBF16);
  EXPECT_FALSE(file_type_from_name("Q4_K"));
  for (const FileTypeInfo& info : file_types())
    EXPECT_EQ(file_type_from_name(info.name), info.type);
}

// Files that llama-quantize made: tensor by tensor the same types.
TEST(QuantizeMix, AgreesWithLlamaQuantize) {
  const auto models = testing::shared_path("data/golden/dev/models");
  if (!models) GTEST_SKIP() << "the golden set is absent (GEIST_SHARED)";
  for (const FileType type :
       {FileType::kQ4_0, FileType::kQ8_0, FileType::kQ4_K_M, FileType::kQ5_K_M, FileType::kQ6_K}) {
    const std::string name(file_type_info(type).name);
    const auto file = gguf::File::open(*models + "/quant-" + name + ".gguf");
    ASSERT_TRUE(file.ok()) << file.error().message;
    const auto choices = choose_tensor_types(file->metadata(), file->tensors(), type);
    ASSERT_TRUE(choices.ok());
    for (size_t i = 0; i < choices->size(); ++i) {
      const gguf::Tensor& tensor = file->tensors()[i];
      EXPECT_EQ((*choices)[i].type, tensor.type) << name << " " << tensor.name;
    }
    EXPECT_EQ(*gguf::get_int(file->metadata(), "general.file_type").value(),
              static_cast<int64_t>(type));
  }
}

}  // namespace
}  // namespace geist::model
