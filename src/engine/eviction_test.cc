// What leaves memory under pressure, and for where (eviction.cc).
#include <gtest/gtest.h>

#include "engine/engine_test_support.h"
#include "engine/memory.h"
#include "engine/prefill_cost.h"

namespace geist::engine {
namespace {

TEST(PrefillCost, FindsWhatATokenAndWhatItsDepthCost) {
  PrefillCost cost;
  EXPECT_GT(cost.seconds(32, 0), 0);  // a guess
  constexpr double kToken = 2e-3, kDepth = 1e-6;
  const auto pass = [&](double tokens, double depth) {
    cost.add(tokens, tokens * depth, tokens * (kToken + kDepth * depth));
  };
  pass(512, 0);
  EXPECT_NEAR(cost.seconds(32, 5000), 32 * kToken, 1e-6);  // depth has made no difference yet
  for (int i = 1; i < 8; ++i) pass(512 - 40 * i, 512.0 * i);
  EXPECT_NEAR(cost.seconds(32, 0), 32 * kToken, 1e-6);
  EXPECT_NEAR(cost.seconds(32, 8000), 32 * (kToken + 8000 * kDepth), 1e-6);
  EXPECT_NEAR(cost.seconds(5, 100), 5 * (kToken + 100 * kDepth), 1e-6);
}

class Eviction : public ::testing::Test {
 protected:
  static MemoryOptions pages(uint64_t count) { return {.budget_bytes = count * tiny_page_bytes()}; }
  Session computed(Memory& memory, const Text& text) {
    Session session(tiny(), {.memory = &memory});
    append_text(session, text);
    compute(runner_, session);
    return session;
  }
  // Tokens computed until one more is known: what was lost, and itself.
  int32_t cost_of_one_more(Session& session, Text text) {
    text.tokens.push_back(7);
    text.labels.push_back(0);
    append_text(session, text, text.tokens.size() - 1);
    int32_t tokens = 0;
    while (session.pending() > 0) tokens += runner_.pass(session);
    EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), text)));
    return tokens;
  }

  RandomStream random_{1, "eviction"};
  ThreadPool pool_{1};
  Runner runner_{tiny(), pool_};
};

// A page is of no use without those before it.
TEST_F(Eviction, ATimelineLosesItsEndFirst) {
  Memory memory(tiny(), pages(7));
  const Text text = random_text(random_, 160);
  Session first = computed(memory, text);
  const Session second = computed(memory, random_text(random_, 100));  // 4 pages: 2 of 5 must go
  EXPECT_EQ(memory.stats().pages_evicted, 2u);
  EXPECT_EQ(cost_of_one_more(first, text), 64 + 1);
}

// Pages of a few tokens cost a tenth of full ones for the same room. They were used last, so what
// goes by age alone would keep them.
TEST_F(Eviction, WhatIsCheapToComputeGoesFirst) {
  Memory memory(tiny(), pages(8));
  for (int i = 0; i < 30; ++i) memory.drop(computed(memory, random_text(random_, 64)));  // measure
  const uint64_t before = memory.stats().pages_evicted;
  const Text dear = random_text(random_, 96);
  Text cheap = random_text(random_, 3);
  for (const uint32_t label : {1u, 0u, 1u}) {
    const Text more = random_text(random_, 3, label);
    cheap.tokens.insert(cheap.tokens.end(), more.tokens.begin(), more.tokens.end());
    cheap.labels.insert(cheap.labels.end(), more.labels.begin(), more.labels.end());
  }
  Session dear_session = computed(memory, dear), cheap_session = computed(memory, cheap);
  const Session pressure = computed(memory, random_text(random_, 100));  // 4 pages
  EXPECT_EQ(memory.stats().pages_evicted, before + 3);
  EXPECT_EQ(cost_of_one_more(dear_session, dear), 1);
  EXPECT_GT(cost_of_one_more(cheap_session, cheap), 1);
}

TEST_F(Eviction, WhatIsReadFasterThanComputedGoesToTheStore) {
  const Folder folder;
  const auto store = open_store(folder);
  MemoryOptions options = pages(7);
  options.store = store.get();
  options.weights = kWeights;
  Memory memory(tiny(), options);
  const Text text = random_text(random_, 160);
  Session first = computed(memory, text);
  const Session second = computed(memory, random_text(random_, 100));
  EXPECT_EQ(store->stats().pages_written, 2u);
  EXPECT_EQ(cost_of_one_more(first, text), 1);
  EXPECT_EQ(memory.stats().pages_restored, 2u);
  EXPECT_EQ(memory.stats().pages_lost, 0u);
}

// Cutting a shared page copies it: many forks must not come to hold more than the budget.
TEST_F(Eviction, ForksThatAreCutBackStayWithinTheBudget) {
  Memory memory(tiny(), pages(10));
  Text text = random_text(random_, 90);
  const Session trunk = computed(memory, text);
  std::vector<Session> forks;
  for (int i = 0; i < 20; ++i) {
    forks.push_back(trunk.fork());
    forks.back().truncate(40 + i);
    EXPECT_LE(memory.stats().resident_bytes, memory.budget_bytes()) << i;
  }
  for (int i = 0; i < 20; ++i) {
    Text cut = text;
    cut.cut(static_cast<size_t>(40 + i));
    cost_of_one_more(forks[static_cast<size_t>(i)], cut);
    EXPECT_LE(memory.stats().resident_bytes, memory.budget_bytes()) << i;
  }
}

TEST_F(Eviction, NodesOfEvictedTextsAreForgotten) {
  Memory memory(tiny(), pages(10));
  for (int i = 0; i < 200; ++i) {
    computed(memory, random_text(random_, 200));  // 6 complete pages
    EXPECT_LE(memory.stats().pages_known, 2 * 64u) << i;
  }
  EXPECT_GT(memory.stats().pages_evicted, 1000u);
}

}  // namespace
}  // namespace geist::engine
