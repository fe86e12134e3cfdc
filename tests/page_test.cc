// Pages and sliding windows: what a sequence may drop, that dropping changes no bit, how far it can
// go back, and what it holds in memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string_view>

#include "base/rng.h"
#include "engine/session.h"
#include "tests/support/random_model.h"
#include "tests/support/run_model.h"

namespace geist {
namespace {

using model::Model;
using model::Sequence;
using Ids = std::vector<text::TokenId>;

constexpr int32_t kTokens = 600;
constexpr const char* kWindowed[] = {"gemma2", "gemma3", "gpt-oss", "olmo3"};

std::unique_ptr<Model> make(const std::string& variant) {
  auto loaded = Model::load(testing::random_model(variant, kernels::TensorType::kF32, 3));
  EXPECT_TRUE(loaded.ok());
  return std::move(*loaded);
}

Ids random_ids(RandomStream& random, size_t count) {
  Ids ids(count);
  for (auto& id : ids) id = static_cast<text::TokenId>(random.next_below(288));
  return ids;
}

bool same(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

bool same_part(const std::shared_ptr<std::byte[]>& a, const std::shared_ptr<std::byte[]>& b,
               int64_t bytes) {
  if (a == nullptr || b == nullptr) return a == b;
  return std::memcmp(a.get(), b.get(), static_cast<size_t>(bytes)) == 0;
}

int dropped(const Sequence& sequence) {
  int count = 0;
  for (const auto& page : sequence.pages) count += page->window == nullptr;
  return count;
}

// Logits of a sequence of its own that never dropped anything, [tokens, 288].
std::vector<float> undropped(const Model& m, const Ids& ids) {
  ThreadPool pool(2);
  const size_t chunks[] = {100};
  return testing::run_chunked(m, ids, pool, chunks);
}

constexpr model::KvType kTypes[] = {model::KvType::kF32, model::KvType::kF16, model::KvType::kBF16,
                                    model::KvType::kQ8_0};

// Rows of a session computed in passes of random sizes.
std::vector<float> rows_of(const Model& m, const Ids& ids, model::KvType type, ThreadPool& pool,
                           RandomStream& random, uint64_t pass_max) {
  engine::Session session(m, {.context_max = kTokens, .kv_type = type});
  engine::Runner runner(m, pool);
  EXPECT_TRUE(session.append(ids).ok());
  std::vector<float> rows;
  while (session.pending() > 0) {
    engine::PassOptions options;
    options.tokens_max = 1 + static_cast<int32_t>(random.next_below(pass_max));
    options.on_row = [&](const auto&, int32_t, std::span<const float> row) {
      rows.insert(rows.end(), row.begin(), row.end());
    };
    runner.pass(session, options);
  }
  return rows;
}

// A token sees the rounded keys of all tokens, its own included, whatever the chunking.
TEST(KvTypes, SameBitsUnderAnyChunkingThreadsAndInstructionSet) {
  RandomStream random(7, "types");
  for (const char* variant : {"llama", "gemma3", "gpt-oss", "bloom"}) {
    const Ids ids = random_ids(random, 48);
    std::vector<float> of_type[kernels::kKvTypeCount];
    for (const auto isa : {kernels::Isa::kAvx512, kernels::Isa::kAvx2, kernels::Isa::kScalar}) {
      const kernels::Kernels* k = kernels::kernels_for(isa);
      if (k == nullptr) continue;
      auto m =
          Model::load(testing::random_model(variant, kernels::TensorType::kF32, 3), {.kernels = k});
      ASSERT_TRUE(m.ok());
      for (const model::KvType type : kTypes) {
        std::vector<float>& want = of_type[static_cast<int>(type)];
        for (const int threads : {1, 7}) {
          // Slow: one run of it, just beyond the first page.
          const bool less = isa == kernels::Isa::kScalar && !want.empty();
          if (less && threads == 1) continue;
          ThreadPool pool(threads);
          const auto got = rows_of(**m, less ? Ids(ids.begin(), ids.begin() + 34) : ids, type, pool,
                                   random, threads == 1 ? 1 : 60);
          if (want.empty()) want = got;
          EXPECT_TRUE(same(got, std::span(want).first(got.size())))
              << variant << " " << kernels::kv_type_name(type) << " " << k->name << " " << threads;
        }
      }
    }
    for (const model::KvType type : kTypes) {
      EXPECT_EQ(same(of_type[static_cast<int>(type)], of_type[0]), type == model::KvType::kF32)
          << variant;
    }
  }
}

// How far a logit may lie from that of an F32 cache: about twice what is seen (0.0048, 0.068 and
// 0.125, all of gpt-oss). Three bits fewer make BF16 eight times as coarse as F16 and more.
float logit_bound(model::KvType type) {
  switch (type) {
    case model::KvType::kF32:
      return 0.0f;
    case model::KvType::kF16:
      return 0.01f;
    case model::KvType::kBF16:
      return 0.1f;
    case model::KvType::kQ8_0:
      return 0.25f;
  }
  return 0.0f;
}

// The model with every expert in use for every token.
gguf::File with_all_experts(const gguf::File& file) {
  const gguf::Metadata& from = file.metadata();
  gguf::Metadata metadata = from;
  for (const auto& [key, value] : from)
    if (key.ends_with(".expert_used_count"))
      metadata[key] = from.at(key.substr(0, key.size() - 10) + "count");
  std::vector<gguf::Tensor> tensors(file.tensors().begin(), file.tensors().end());
  return gguf::File::assemble(std::move(metadata), std::move(tensors),
                              std::make_shared<const gguf::File>(file), file.name());
}

// With experts a row also depends on a choice, which rounding turns where it is close: that token
// comes from other experts, and no bound on keys bounds its logits (gpt-oss with 2 of 4: a row 2.8
// away). With all experts in use the model is continuous in its keys, so every row must be near.
TEST(KvTypes, RoundingMovesEveryLogitLittle) {
  RandomStream random(7, "types");
  ThreadPool pool(2);
  for (const char* variant : {"llama", "gemma3", "gpt-oss", "bloom"}) {
    const Ids ids = random_ids(random, 48);
    auto m =
        Model::load(with_all_experts(testing::random_model(variant, kernels::TensorType::kF32, 3)));
    ASSERT_TRUE(m.ok());
    std::vector<float> f32;
    for (const model::KvType type : kTypes) {
      const std::vector<float> got = rows_of(**m, ids, type, pool, random, 60);
      ASSERT_EQ(got.size(), ids.size() * 288);
      if (f32.empty()) f32 = got;
      float most = 0;
      for (size_t i = 0; i < got.size(); ++i) most = std::max(most, std::fabs(got[i] - f32[i]));
      EXPECT_LE(most, logit_bound(type)) << variant << " " << kernels::kv_type_name(type);
      EXPECT_EQ(most > 0, type != model::KvType::kF32);
    }
  }
}

TEST(Windows, DroppingChangesNoBitAndBoundsMemory) {
  RandomStream random(1, "windows");
  ThreadPool pool(2);
  for (const char* variant : kWindowed) {
    const auto m = make(variant);
    const model::KvLayout& layout = m->config().kv_layout(model::KvType::kF32);
    ASSERT_GT(layout.window_bytes, 0) << variant;
    const Ids ids = random_ids(random, kTokens);
    const std::vector<float> want = undropped(*m, ids);
    engine::Session session(*m, {.context_max = kTokens});
    engine::Runner runner(*m, pool);
    ASSERT_TRUE(session.append(ids).ok());
    const int64_t window_tokens = m->config().sliding_window + engine::kRewindTokens;
    while (session.pending() > 0) {
      engine::PassOptions options;
      options.tokens_max = 1 + static_cast<int32_t>(random.next_below(50));
      options.on_row = [&](const auto&, int32_t position, std::span<const float> row) {
        EXPECT_TRUE(same(row, std::span(want).subspan(static_cast<size_t>(position) * 288, 288)))
            << variant << " " << position;
      };
      runner.pass(session, options);
      const int64_t pages = (session.length() - session.pending() + 31) / 32;
      const int64_t window_pages = std::min(pages, window_tokens / 32 + 2);
      EXPECT_LE(session.kv_bytes(), static_cast<uint64_t>(pages * layout.full_bytes +
                                                          window_pages * layout.window_bytes))
          << variant;
    }
    EXPECT_LE(session.kv_bytes(), model::kv_bytes_planned(m->config(), model::KvType::kF32, kTokens,
                                                          50 + engine::kRewindTokens));
  }
}

TEST(Windows, GoingBackComputesAgainWhatWasDropped) {
  RandomStream random(2, "back");
  ThreadPool pool(2);
  for (const char* variant : kWindowed) {
    const auto m = make(variant);
    engine::Runner runner(*m, pool);
    engine::Session session(*m, {.context_max = kTokens});
    bool again = false;
    for (int round = 0; round < 12; ++round) {
      const auto room = static_cast<uint64_t>(kTokens - session.length());
      const uint64_t more = round == 0 ? 400 : 1 + random.next_below(std::min<uint64_t>(room, 90));
      ASSERT_TRUE(session.append(random_ids(random, more), round % 3 == 1 ? 1 : 0).ok());
      while (session.pending() > 0) runner.pass(session, {.tokens_max = 64});
      engine::Session fresh(*m, {.context_max = kTokens});
      ASSERT_TRUE(fresh.append(session.tokens()).ok());
      // Labels cut pages, which changes the order of sums: compare where there are none.
      if (round == 0) {
        while (fresh.pending() > 0) runner.pass(fresh);
        EXPECT_TRUE(same(session.logits(), fresh.logits())) << variant;
      }
      engine::Session other = session.fork();
      const std::vector<float> before(session.logits().begin(), session.logits().end());
      const text::TokenId last = session.tokens().back();
      const uint64_t most = round % 2 ? 40 : static_cast<uint64_t>(session.length());
      const auto back = static_cast<int32_t>(random.next_below(most));
      const Ids tail(session.tokens().end() - back, session.tokens().end());
      session.truncate(session.length() - back);
      again = again || session.pending() > 0;
      EXPECT_TRUE(back > engine::kRewindTokens || session.pending() == 0) << variant << back;
      // Other tokens, then back, then one: the fork, which kept everything it had, agrees.
      ASSERT_TRUE(session.append(random_ids(random, 5)).ok());
      runner.pass(session);
      session.truncate(session.length() - 5);
      other.truncate(other.length() - back);
      ASSERT_TRUE(session.append(last).ok() && other.append(last).ok());
      while (session.pending() > 0) runner.pass(session, {.tokens_max = 50});
      while (other.pending() > 0) runner.pass(other, {.tokens_max = 33});
      EXPECT_TRUE(same(session.logits(), other.logits())) << variant << " round " << round;
    }
    EXPECT_TRUE(again) << variant << ": no round went back beyond what was dropped";
  }
}

TEST(Windows, AForkThatHoldsAPartKeepsIt) {
  RandomStream random(3, "fork");
  const auto m = make("gemma3");
  const model::Config& c = m->config();
  ThreadPool pool(1);
  const auto workspace = Model::make_workspace();
  Sequence a;
  testing::append(*m, a, random_ids(random, 170), *workspace, pool);
  const Sequence b = a;
  model::drop_expired(c, a, 170);
  // The next query sees from 170 + 1 - 24 on: pages 0 to 3 (tokens below 128) go.
  EXPECT_EQ(dropped(a), 4);
  EXPECT_EQ(dropped(b), 0);
  EXPECT_EQ(a.pages[0]->full, b.pages[0]->full);
  EXPECT_EQ(a.pages[5], b.pages[5]);
  EXPECT_LT(model::kv_bytes(c, a), model::kv_bytes(c, b));
  EXPECT_EQ(model::usable_length(c, a, 170), 170);
  EXPECT_EQ(model::usable_length(c, a, 151), 151);  // its first query sees 128
  EXPECT_EQ(model::usable_length(c, a, 150), 0);    // and this one 127
  EXPECT_EQ(model::usable_length(c, b, 150), 150);
  model::drop_expired(c, a, 170);
  EXPECT_EQ(dropped(a), 4);
}

TEST(Windows, ModelsWithoutHaveNoWindowPart) {
  const auto m = make("llama");
  EXPECT_EQ(m->config().kv_layout(model::KvType::kF32).window_bytes, 0);
  Sequence s;
  model::reserve(m->config(), s, 100);
  model::drop_expired(m->config(), s, 100);
  EXPECT_EQ(s.pages[0]->window, nullptr);
  EXPECT_EQ(model::usable_length(m->config(), s, 57), 57);
}

TEST(Pages, BytesAreAFunctionOfTheTokens) {
  RandomStream random(4, "bytes");
  ThreadPool pool(2);
  const auto workspace = Model::make_workspace();
  for (const auto type : kTypes) {
    const auto m = make("gemma2");
    const model::Config& c = m->config();
    const model::KvLayout& layout = c.kv_layout(type);
    const Ids ids = random_ids(random, 45), other = random_ids(random, 15);
    Sequence straight, detour;
    straight.kv_type = detour.kv_type = type;
    testing::append(*m, straight, ids, *workspace, pool);
    testing::append(*m, detour, std::span(ids).first(40), *workspace, pool);
    testing::append(*m, detour, other, *workspace, pool);
    model::truncate(c, detour, 40);
    testing::append(*m, detour, std::span(ids).subspan(40), *workspace, pool);
    ASSERT_EQ(straight.pages.size(), detour.pages.size());
    for (size_t i = 0; i < straight.pages.size(); ++i) {
      const model::Page &a = *straight.pages[i], &b = *detour.pages[i];
      EXPECT_EQ(a.count, b.count);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(a.full.get()) % 64, 0u);
      EXPECT_TRUE(same_part(a.full, b.full, layout.full_bytes)) << kernels::kv_type_name(type);
      EXPECT_TRUE(same_part(a.window, b.window, layout.window_bytes))
          << kernels::kv_type_name(type);
    }
  }
}

TEST(Pages, SizesOfHostileShapesAreChecked) {
  const kernels::KvShape largest{4096, 8192, 8192};  // what config.cc allows, 512 layers
  const auto layout = model::make_kv_layout(largest, std::vector<bool>(512));
  ASSERT_TRUE(layout.has_value());
  EXPECT_EQ(layout->full_bytes, int64_t{4096} * (8192 + 8192) * 32 * 4 * 512);
  model::Config config;
  config.kv_layouts[0] = *layout;
  EXPECT_EQ(model::kv_bytes_planned(config, model::KvType::kF32, 32, 32),
            static_cast<uint64_t>(layout->full_bytes));
  EXPECT_EQ(model::kv_bytes_planned(config, model::KvType::kF32, INT32_MAX, 512), UINT64_MAX);
  constexpr int32_t kMost = INT32_MAX;
  EXPECT_FALSE(model::make_kv_layout({kMost, kMost, kMost}, {true}).has_value());
  constexpr int32_t kWide = 1 << 20;
  EXPECT_FALSE(
      model::make_kv_layout({kWide, kWide, kWide}, std::vector<bool>(1 << 16)).has_value());
}

}  // namespace
}  // namespace geist
