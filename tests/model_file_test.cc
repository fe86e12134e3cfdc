// Loading models: damaged or hostile files get one clear line that names the key or the tensor and
// what is wrong with it; pages and limits behave as model.h says.
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <regex>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tests/support/random_model.h"
#include "tests/support/run_model.h"

namespace geist {
namespace {

using gguf::Value;
using kernels::TensorType;
using model::Model;

// The error of loading a random model after a change to its metadata and tensors; "" when it loads.
std::string error_after(
    const std::string& variant,
    const std::function<void(gguf::Metadata&, std::vector<gguf::Tensor>&)>& change) {
  // Made once for many changes.
  static std::map<std::string, std::shared_ptr<const gguf::File>> files;
  std::shared_ptr<const gguf::File>& file = files[variant];
  if (file == nullptr)
    file = std::make_shared<gguf::File>(testing::random_model(variant, TensorType::kF32, 1));
  gguf::Metadata metadata = file->metadata();
  std::vector<gguf::Tensor> tensors(file->tensors().begin(), file->tensors().end());
  change(metadata, tensors);
  auto loaded =
      Model::load(gguf::File::assemble(std::move(metadata), std::move(tensors), file, "m.gguf"));
  return loaded.ok() ? "" : loaded.error().message;
}

std::string error_with_key(const std::string& variant, const std::string& key, Value value) {
  return error_after(variant, [&](gguf::Metadata& m, auto&) { m[key] = std::move(value); });
}

std::string error_without_key(const std::string& variant, const std::string& key) {
  return error_after(variant, [&](gguf::Metadata& m, auto&) { m.erase(key); });
}

gguf::Tensor& tensor_named(std::vector<gguf::Tensor>& tensors, const std::string& name) {
  for (gguf::Tensor& t : tensors)
    if (t.name == name) return t;
  ADD_FAILURE() << "no tensor " << name;
  return tensors.front();
}

TEST(ModelFile, EveryVariantLoadsAndHasTheShapeOfItsFile) {
  for (const std::string& variant : testing::random_model_variants()) {
    auto loaded = Model::load(testing::random_model(variant, TensorType::kF32, 1));
    ASSERT_TRUE(loaded.ok()) << variant << ": " << loaded.error().message;
    const model::Config& c = (*loaded)->config();
    EXPECT_EQ(c.vocab_size, 288) << variant;
    for (const model::KvLayout& layout : c.kv_layouts)
      EXPECT_EQ(layout.full_bytes + layout.window_bytes,
                c.block_count * *kernels::kv_layer_bytes(layout.shape))
          << variant;
    EXPECT_EQ(c.has_logits, variant.find("bert") == std::string::npos) << variant;
  }
}

TEST(ModelFile, NumbersOutOfRangeAreNamed) {
  struct Case {
    const char* key;
    Value value;
  };
  const Case cases[] = {
      {"llama.block_count", Value::u32(0)},
      {"llama.block_count", Value::u32(513)},
      {"llama.block_count", Value::u64(1ull << 63)},
      {"llama.block_count", Value::i32(-2)},
      {"llama.block_count", Value::string("2")},
      {"llama.embedding_length", Value::u32(0)},
      {"llama.embedding_length", Value::u32(4000000000u)},
      {"llama.context_length", Value::i32(-1)},
      {"llama.attention.head_count", Value::u32(0)},
      {"llama.attention.head_count", Value::u32(5)},
      {"llama.attention.head_count_kv", Value::u32(3)},
      {"llama.attention.head_count_kv", Value::u32s({2, 1})},
      {"llama.attention.key_length", Value::u32(1 << 20)},
      {"llama.rope.dimension_count", Value::u32(15)},
      {"llama.rope.dimension_count", Value::u32(18)},
      {"llama.rope.freq_base", Value::f32(0.0f)},
      {"llama.rope.freq_base", Value::f32(std::numeric_limits<float>::quiet_NaN())},
      {"llama.rope.scaling.type", Value::string("spiral")},
      {"llama.rope.scaling.factor", Value::f32(-1.0f)},
      {"llama.attention.layer_norm_rms_epsilon", Value::f32(0.0f)},
      {"llama.attention.layer_norm_rms_epsilon", Value::f32(-1e-5f)},
      {"llama.attention.layer_norm_rms_epsilon",
       Value::f32(std::numeric_limits<float>::infinity())},
      {"llama.expert_count", Value::u32(1000000)},
      {"llama.vocab_size", Value::u32(1000)},
      {"tokenizer.ggml.tokens", Value::strings(std::vector<std::string>(289, "x"))},
      {"llama.attention.sliding_window_pattern", Value::u32s({1})},
      {"llama.pooling_type", Value::u32(9)},
  };
  for (const Case& c : cases) {
    const std::string error = error_with_key("llama", c.key, c.value);
    EXPECT_NE(error.find(c.key), std::string::npos) << c.key << ": " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

TEST(ModelFile, MixtureNumbersAreChecked) {
  EXPECT_NE(
      error_with_key("mixtral", "llama.expert_used_count", Value::u32(5)).find("expert_used_count"),
      std::string::npos);
  EXPECT_NE(
      error_with_key("mixtral", "llama.expert_used_count", Value::u32(0)).find("expert_used_count"),
      std::string::npos);
  EXPECT_NE(error_with_key("qwen3moe", "qwen3moe.expert_count", Value::u32(0)).find("expert_count"),
            std::string::npos);
  EXPECT_NE(error_without_key("gpt-oss", "gpt-oss.attention.sliding_window").find("sliding_window"),
            std::string::npos);
}

TEST(ModelFile, MissingKeysAreNamed) {
  for (const char* key : {"llama.block_count", "llama.context_length", "llama.embedding_length",
                          "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon",
                          "llama.feed_forward_length", "general.architecture"}) {
    const std::string error = error_without_key("llama", key);
    EXPECT_NE(error.find(key), std::string::npos) << key << ": " << error;
  }
}

TEST(ModelFile, UnknownArchitectureListsTheKnownOnes) {
  const std::string error =
      error_with_key("llama", "general.architecture", Value::string("mamba9"));
  EXPECT_NE(error.find("mamba9"), std::string::npos) << error;
  EXPECT_NE(error.find("qwen3moe"), std::string::npos) << error;
}

// A weight that nobody asks for is of another model: a layer too many, a bias in a wrong place.
TEST(ModelFile, WeightsWithoutAPlaceAreRefused) {
  for (const char* name : {"blk.7.attn_q.weight", "blk.0.foo.weight", "output.bias", "extra"}) {
    const auto add = [&](auto&, std::vector<gguf::Tensor>& tensors) {
      tensors.push_back(tensors[0]);
      tensors.back().name = name;
    };
    EXPECT_NE(error_after("llama", add).find(name), std::string::npos) << name;
  }
  for (const char* name : {"cls.output.weight", "train.step", "blk.0.attn_rot_embd"}) {
    const auto add = [&](auto&, std::vector<gguf::Tensor>& tensors) {
      tensors.push_back(tensors[0]);
      tensors.back().name = name;
    };
    EXPECT_EQ(error_after("llama", add), "") << name;
  }
}

// Every tensor of every variant, taken away: either it was optional, or the error names it, or its
// bias that is left.
TEST(ModelFile, MissingTensorsAreNamed) {
  // What some model of the architecture does without. Anything else that loads when it is missing
  // would be computed wrongly in silence.
  const std::regex may_be_missing(
      ".* (output.weight|rope_freqs.weight|rope_factors_(long|short).weight|token_types.weight)"
      "|.*\\.bias|mpt position_embd.weight|falcon.*attn_norm_2.weight|stablelm .*ffn_norm.weight");
  for (const std::string& variant : testing::random_model_variants()) {
    const gguf::File file = testing::random_model(variant, TensorType::kF32, 1);
    for (const gguf::Tensor& t : file.tensors()) {
      const std::string error =
          error_after(variant, [&](auto&, std::vector<gguf::Tensor>& tensors) {
            std::erase_if(tensors, [&](const gguf::Tensor& other) { return other.name == t.name; });
          });
      const std::string stem = t.name.substr(0, t.name.rfind('.'));
      const bool optional =
          error.empty() && std::regex_match(variant + " " + t.name, may_be_missing);
      const bool split_expert =
          variant == "mixtral-split" && t.name.find(".0.weight") != std::string::npos;
      EXPECT_TRUE(optional || split_expert || error.find(stem + ".") != std::string::npos ||
                  (stem.ends_with("attn_qkv") && error.find("attn_q") != std::string::npos))
          << variant << " without " << t.name << ": " << error;
    }
  }
}

// Every tensor of every variant, with a row or a column less: never accepted.
TEST(ModelFile, WrongShapesAreRefused) {
  for (const std::string& variant : testing::random_model_variants()) {
    const gguf::File file = testing::random_model(variant, TensorType::kF32, 1);
    for (const gguf::Tensor& t : file.tensors()) {
      // Any number of token types is fine, and the embedding table itself says how large the
      // vocabulary is.
      if (t.name == "token_types.weight") continue;
      for (size_t d = 0; d < t.dims.size(); ++d) {
        if (t.dims[d] == 1) continue;
        const std::string error =
            error_after(variant, [&](auto&, std::vector<gguf::Tensor>& tensors) {
              gguf::Tensor& changed = tensor_named(tensors, t.name);
              changed.dims[d] -= 1;
              changed.data =
                  changed.data.first(static_cast<size_t>(changed.elements()) * sizeof(float));
            });
        EXPECT_NE(error, "") << variant << ": " << t.name << " with a smaller dimension " << d;
        if (t.name == "token_embd.weight") continue;
        EXPECT_NE(error.find(t.name), std::string::npos)
            << variant << " " << t.name << ": " << error;
      }
    }
  }
}

TEST(ModelFile, IntegersAreNotWeights) {
  for (const char* name : {"blk.0.attn_q.weight", "blk.1.ffn_norm.weight", "token_embd.weight"}) {
    const std::string error = error_after("llama", [&](auto&, std::vector<gguf::Tensor>& tensors) {
      tensor_named(tensors, name).type = TensorType::kI32;
    });
    EXPECT_NE(error.find(name), std::string::npos) << error;
  }
}

TEST(ModelFile, RotationDivisorsAreChecked) {
  std::vector<float> zeros(8, 0.0f);
  const std::string error =
      error_after("llama-rope-divisors", [&](auto&, std::vector<gguf::Tensor>& tensors) {
        tensor_named(tensors, "rope_freqs.weight").data = std::as_bytes(std::span(zeros));
      });
  EXPECT_NE(error.find("rope_freqs.weight"), std::string::npos) << error;
}

// A number from where trouble lies: small, near powers of two, near the ends of the types, not
// finite.
Value hostile_value(RandomStream& random) {
  const int64_t small = static_cast<int64_t>(random.next_below(9)) - 2;
  switch (random.next_below(6)) {
    case 0:
      return Value::i32(static_cast<int32_t>(small));
    case 1:
      return Value::u32(
          static_cast<uint32_t>((1ull << random.next_below(32)) + static_cast<uint64_t>(small)));
    case 2:
      return Value::u64((1ull << random.next_below(64)) + static_cast<uint64_t>(small));
    case 3: {
      constexpr float kFloats[] = {0.0f,
                                   -1.0f,
                                   1e-38f,
                                   1e38f,
                                   std::numeric_limits<float>::infinity(),
                                   std::numeric_limits<float>::quiet_NaN()};
      return Value::f32(kFloats[random.next_below(6)]);
    }
    case 4:
      return Value::boolean(random.next_below(2) == 0);
    default:
      return Value::u32s({static_cast<uint32_t>(random.next_u64()), 2, 0});
  }
}

// Whatever the metadata says, loading fails with one line or gives a model that runs: nothing is
// believed that the tensors do not bear out. (Sanitizers see what a plain build would not.)
TEST(ModelFile, HostileMetadataNeverCrashes) {
  RandomStream random(17, "hostile metadata");
  ThreadPool pool(1);
  const auto workspace = Model::make_workspace();
  const std::vector<text::TokenId> ids = {1, 2, 287};
  int loaded_count = 0;
  for (const std::string& variant : testing::random_model_variants()) {
    const auto file =
        std::make_shared<const gguf::File>(testing::random_model(variant, TensorType::kF32, 1));
    for (int round = 0; round < 60; ++round) {
      gguf::Metadata metadata = file->metadata();
      for (uint64_t i = 0; i <= random.next_below(2); ++i) {
        auto it = metadata.begin();
        std::advance(it, static_cast<long>(random.next_below(metadata.size())));
        it->second = hostile_value(random);
      }
      std::vector<gguf::Tensor> tensors(file->tensors().begin(), file->tensors().end());
      auto m = Model::load(
          gguf::File::assemble(std::move(metadata), std::move(tensors), file, "m.gguf"));
      if (!m.ok()) {
        EXPECT_EQ(m.error().message.find('\n'), std::string::npos) << m.error().message;
        EXPECT_EQ(m.error().message.find("m.gguf: "), 0u) << m.error().message;
        continue;
      }
      ++loaded_count;
      model::Sequence sequence;
      if ((*m)->check_tokens(ids).ok()) testing::append(**m, sequence, ids, *workspace, pool);
    }
  }
  EXPECT_GT(loaded_count, 100);
}

TEST(Pages, ReserveFillsOpensAndCopies) {
  auto loaded = Model::load(testing::random_model("llama", TensorType::kF32, 1));
  ASSERT_TRUE(loaded.ok());
  const model::Config& c = (*loaded)->config();
  model::Sequence s;
  EXPECT_EQ(model::reserve(c, s, 40), 0);
  ASSERT_EQ(s.pages.size(), 2u);
  EXPECT_EQ(s.pages[0]->count, 32);
  EXPECT_EQ(s.pages[1]->count, 8);
  EXPECT_EQ(s.pages[1]->first_pos, 32);
  EXPECT_EQ(model::reserve(c, s, 1), 40);
  EXPECT_EQ(s.pages.size(), 2u);
  // Another label opens a page, though there is room.
  EXPECT_EQ(model::reserve(c, s, 3, 5), 41);
  ASSERT_EQ(s.pages.size(), 3u);
  EXPECT_EQ(s.pages[2]->label, 5u);
  EXPECT_EQ(s.pages[2]->first_pos, 41);
  EXPECT_EQ(s.length, 44);
  // A shared open page is copied before it grows; full ones stay shared.
  model::Sequence fork = s;
  EXPECT_EQ(model::reserve(c, fork, 1, 5), 44);
  EXPECT_NE(fork.pages[2], s.pages[2]);
  EXPECT_EQ(fork.pages[0], s.pages[0]);
  EXPECT_EQ(s.pages[2]->count, 3);
  EXPECT_EQ(fork.pages[2]->count, 4);
}

TEST(Limits, CheckTokensNamesTheOffender) {
  auto gpt2 = Model::load(testing::random_model("gpt2", TensorType::kF32, 1));
  ASSERT_TRUE(gpt2.ok());
  const std::vector<text::TokenId> fine = {0, 287}, bad = {1, 288}, negative = {-1};
  EXPECT_TRUE((*gpt2)->check_tokens(fine).ok());
  EXPECT_NE((*gpt2)->check_tokens(bad).error().message.find("288"), std::string::npos);
  EXPECT_FALSE((*gpt2)->check_tokens(negative).ok());
  EXPECT_TRUE((*gpt2)->check_tokens(fine, 254).ok());
  EXPECT_NE((*gpt2)->check_tokens(fine, 255).error().message.find("256"), std::string::npos);
}

TEST(Output, HiddenStatesAndWantedRows) {
  auto m = Model::load(testing::random_model("llama", TensorType::kF32, 1));
  ASSERT_TRUE(m.ok());
  ThreadPool pool(1);
  const auto workspace = Model::make_workspace();
  const std::vector<text::TokenId> ids = {4, 9, 200, 3, 77};
  const std::vector<float> all = testing::run_whole(**m, ids, pool);
  model::Sequence s;
  model::reserve((*m)->config(), s, 5);
  std::vector<model::BatchToken> batch;
  for (int i = 0; i < 5; ++i)
    batch.push_back({ids[static_cast<size_t>(i)], &s, i, ~0ull, i == 1 || i == 4});
  std::vector<float> rows(2 * 288, -1.0f);
  (*m)->forward(batch, model::Output::kLogits, *workspace, pool, rows.data());
  EXPECT_TRUE(std::equal(rows.begin(), rows.begin() + 288, all.begin() + 288));
  EXPECT_TRUE(std::equal(rows.begin() + 288, rows.end(), all.begin() + 4 * 288));
  std::vector<float> hidden(2 * 64 + 1, -1.0f);
  (*m)->forward(batch, model::Output::kHidden, *workspace, pool, hidden.data());
  EXPECT_NE(hidden[0], -1.0f);
  EXPECT_EQ(hidden.back(), -1.0f);
}

}  // namespace
}  // namespace geist
