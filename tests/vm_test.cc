// Context as virtual memory across folders: models with sliding windows under random programs
// against recomputation (engine/program_test_support.h), and who may share pages with whom.
#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/program_test_support.h"
#include "engine/weights_digest.h"
#include "model/lora.h"
#include "tests/support/random_model.h"

namespace geist::engine {
namespace {

constexpr model::KvType kTypes[] = {model::KvType::kF32, model::KvType::kF16, model::KvType::kBF16,
                                    model::KvType::kQ8_0};

// Kept for good: alone() knows models by their address.
const model::Model& window_model(const std::string& variant, uint64_t seed) {
  static std::vector<std::unique_ptr<model::Model>> models;
  auto loaded =
      model::Model::load(geist::testing::random_model(variant, kernels::TensorType::kF32, seed));
  EXPECT_TRUE(loaded.ok());
  models.push_back(std::move(*loaded));
  return *models.back();
}

class Windows : public ::testing::TestWithParam<const char*> {};

TEST_P(Windows, RandomProgramsEqualRecomputation) {
  const model::Model& model = window_model(GetParam(), 1);
  for (uint64_t seed = 0; seed < 12; ++seed) {
    const model::KvType type = kTypes[seed % std::size(kTypes)];
    const model::KvLayout& layout = model.config().kv_layout(type);
    const Folder folder;
    std::unique_ptr<PageStore> store;
    if (seed % 3 != 0) store = open_store(folder);
    const auto bytes = static_cast<uint64_t>(layout.full_bytes + layout.window_bytes);
    Memory memory(model, {.budget_bytes = (10 + seed) * bytes,
                          .store = store.get(),
                          .weights = kWeights,
                          .kv_type = type});
    Program(model, seed, memory, store ? folder.path() : "").run(60);
    if (::testing::Test::HasFailure()) FAIL() << "seed " << seed;
  }
}

// Without a Memory, windows are given up as they pass.
TEST_P(Windows, GoingFarBackComputesAgain) {
  const model::Model& model = window_model(GetParam(), 2);
  RandomStream random(3, "back");
  ThreadPool pool(1);
  Runner runner(model, pool);
  Session session(model, {});
  Text text = random_text(random, 240);
  append_text(session, text);
  compute(runner, session, 20);
  for (const size_t length : {230u, 130u, 40u}) {
    Session fork = session.fork();
    Text cut = text;
    cut.cut(length);
    fork.truncate(static_cast<int32_t>(length));
    cut.tokens.push_back(9);
    cut.labels.push_back(0);
    append_text(fork, cut, length);
    compute(runner, fork, 33);
    EXPECT_TRUE(same_bytes(fork.logits(), alone(model, cut))) << length;
    session.truncate(static_cast<int32_t>(length));
    text.cut(length);
    compute(runner, session);
  }
}

// Windows that one fork is past are still those of the other.
TEST_P(Windows, AForkKeepsTheWindowsThatTheOtherGivesUp) {
  const model::Model& model = window_model(GetParam(), 2);
  RandomStream random(4, "forks");
  ThreadPool pool(1);
  Runner runner(model, pool);
  Text text = random_text(random, 45);
  Session trunk(model, {.context_max = 600});
  append_text(trunk, text);
  compute(runner, trunk);
  Session branch = trunk.fork();
  append_text(trunk, random_text(random, 240));
  compute(runner, trunk, 9);
  text.tokens.push_back(9);
  text.labels.push_back(0);
  append_text(branch, text, 45);
  compute(runner, branch);
  EXPECT_TRUE(same_bytes(branch.logits(), alone(model, text)));
}

// As speculation does it: the timeline goes on in a fork, and what it came from ends.
TEST_P(Windows, ForksThatEndedKeepNoWindows) {
  const model::Model& model = window_model(GetParam(), 2);
  RandomStream random(5, "ended");
  ThreadPool pool(1);
  Runner runner(model, pool);
  const Text text = random_text(random, 448);
  Session straight(model, {.context_max = 600}), forked(model, {.context_max = 600});
  for (size_t length = 32; length <= text.tokens.size(); length += 32) {
    Text front = text;
    front.cut(length);
    Session next = forked.fork();
    for (Session* session : {&straight, &next}) {
      append_text(*session, front, length - 32);
      compute(runner, *session);
    }
    forked = std::move(next);
  }
  EXPECT_TRUE(same_bytes(forked.logits(), straight.logits()));
  for (Session* session : {&straight, &forked}) {
    append_text(*session, random_text(random, 1));
    compute(runner, *session);
  }
  EXPECT_EQ(forked.kv_bytes(), straight.kv_bytes());
}

// Appends until the memory refuses: what it took it must have room for.
void fill(Runner& runner, Session& session, const Memory& memory, RandomStream& random,
          size_t count, uint32_t labels) {
  for (uint32_t i = 0;; ++i) {
    const Text more = random_text(random, count);
    if (!session.append(more.tokens, i % labels).ok()) break;
    compute(runner, session);
    ASSERT_LE(memory.stats().resident_bytes, memory.budget_bytes()) << session.length();
  }
  EXPECT_LT(session.length(), session.context_max());
}

TEST_P(Windows, AdmissionCountsPagesOfFewTokensAndWhatPinsKeep) {
  const model::Model& model = window_model(GetParam(), 2);
  const model::KvLayout& layout = model.config().kv_layout(model::KvType::kF32);
  const auto bytes = static_cast<uint64_t>(layout.full_bytes + layout.window_bytes);
  RandomStream random(6, "admission");
  ThreadPool pool(1);
  Runner runner(model, pool);
  {
    Memory memory(model, {.budget_bytes = 41 * bytes});
    Session session(model, {.memory = &memory});
    fill(runner, session, memory, random, 1, 2);
    EXPECT_GE(session.length(), 39);
  }
  Memory memory(model, {.budget_bytes = 44 * bytes});
  Session session(model, {.context_max = 2000, .memory = &memory});
  append_text(session, random_text(random, 40 * 32));
  compute(runner, session, 200);
  auto pin = memory.pin(session);
  ASSERT_TRUE(pin.ok()) << pin.error().message;
  fill(runner, session, memory, random, 32, 1);
  EXPECT_GE(session.length(), 42 * 32);
}

// ---- who may share with whom

std::shared_ptr<const model::AdapterSet> adapters(const model::Model& model, uint64_t seed,
                                                  float scale) {
  RandomStream random(seed, "adapter");
  const auto values = [&](size_t count) {
    std::vector<float> out(count);
    for (float& v : out) v = static_cast<float>(random.next_double() - 0.5);
    return out;
  };
  const gguf::Tensor& base = *model.file().find("blk.0.attn_k.weight");
  const int64_t rank = 3, in = base.dims[0], out = base.dims[1];
  const model::LoraMatrices pair{base.name,
                                 rank,
                                 in,
                                 out,
                                 values(static_cast<size_t>(rank * in)),
                                 values(static_cast<size_t>(rank * out))};
  const Folder folder;
  std::filesystem::create_directories(folder.path());
  const std::string path = folder.path() + "/adapter.gguf";
  EXPECT_TRUE(model::write_lora(path, "llama", 6, {&pair, 1}).ok());
  auto adapter = model::LoraAdapter::load(std::move(*gguf::File::open(path)), model);
  EXPECT_TRUE(adapter.ok());
  return std::make_shared<const model::AdapterSet>(
      std::vector<model::AdapterSet::Member>{{*adapter, scale}});
}

std::vector<float> answer(const model::Model& model, const Text& text,
                          const SessionOptions& options, int32_t* computed = nullptr) {
  ThreadPool pool(1);
  Runner runner(model, pool);
  Session session(model, options);
  append_text(session, text);
  int32_t tokens = 0;
  while (session.pending() > 0) tokens += runner.pass(session);
  if (computed != nullptr) *computed = tokens;
  return {session.logits().begin(), session.logits().end()};
}

// One memory, one text: sessions share pages if and only if their adapters and scales are equal.
TEST(Sharing, SessionsOfOtherAdaptersOrScalesNeverShare) {
  const model::Model& model = window_model("llama", 4);
  RandomStream random(1, "adapters");
  const Text text = random_text(random, 100);
  Memory memory(model, {.budget_bytes = 1 << 26});
  std::vector<std::vector<float>> seen;
  for (const auto& set : {std::shared_ptr<const model::AdapterSet>(), adapters(model, 1, 1.0f),
                          adapters(model, 2, 1.0f), adapters(model, 1, 0.5f)}) {
    const std::vector<float> expected = answer(model, text, {.adapters = set});
    for (const std::vector<float>& other : seen) EXPECT_FALSE(same_bytes(other, expected));
    for (const int32_t wanted : {100, 4}) {  // the second one finds the first one's three pages
      int32_t computed = 0;
      const SessionOptions options{.adapters = set, .memory = &memory};
      EXPECT_TRUE(same_bytes(answer(model, text, options, &computed), expected));
      EXPECT_EQ(computed, wanted);
    }
    seen.push_back(expected);
  }
  int32_t computed = 0;  // the same content and scale, loaded again
  const SessionOptions again{.adapters = adapters(model, 2, 1.0f), .memory = &memory};
  EXPECT_TRUE(same_bytes(answer(model, text, again, &computed), seen[2]));
  EXPECT_EQ(computed, 4);
}

// Pages of other weights and KV types lie in the same store, under other names.
TEST(Sharing, OneStoreKeepsWeightsAndKvTypesApart) {
  const model::Model& one = window_model("llama", 5);
  const model::Model& other = window_model("llama", 6);
  RandomStream random(2, "store");
  const Text text = random_text(random, 100);
  const Folder folder;
  const auto store = open_store(folder);
  ThreadPool pool(1);
  for (const model::Model* model : {&one, &other}) {
    const Sha256Digest weights = weights_digest(model->file(), pool);
    for (const model::KvType type : kTypes) {
      for (const int32_t wanted : {100, 4}) {
        Memory memory(
            *model,
            {.budget_bytes = 1 << 26, .store = store.get(), .weights = weights, .kv_type = type});
        Runner runner(*model, pool);
        Session session(*model, {.memory = &memory});
        append_text(session, text);
        EXPECT_EQ(runner.pass(session), wanted);
        EXPECT_TRUE(same_bytes(session.logits(), alone(*model, text, type)));
        EXPECT_EQ(memory.save(session), 3);
      }
    }
  }
  EXPECT_EQ(store->stats().pages, 2 * std::size(kTypes) * 3);
}

INSTANTIATE_TEST_SUITE_P(All, Windows, ::testing::Values("gemma3", "gpt-oss", "llama"),
                         [](const auto& variant) {
                           std::string name = variant.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace geist::engine
