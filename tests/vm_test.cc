// Context as virtual memory on models with sliding windows: random programs against recomputation
// (engine/program_test_support.h).
#include <gtest/gtest.h>

#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/program_test_support.h"
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

INSTANTIATE_TEST_SUITE_P(All, Windows, ::testing::Values("gemma3", "gpt-oss", "llama"),
                         [](const auto& variant) {
                           std::string name = variant.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace geist::engine
