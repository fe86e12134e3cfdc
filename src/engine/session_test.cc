#include "engine/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/rng.h"
#include "tests/support/tiny_model.h"

namespace geist::engine {
namespace {

using Tokens = std::vector<TokenId>;

const model::Model& tiny() {
  static const std::unique_ptr<model::Model> model = [] {
    auto loaded = model::Model::load(testing::tiny_model());
    EXPECT_TRUE(loaded.ok());
    return std::move(*loaded);
  }();
  return *model;
}

Tokens random_tokens(RandomStream& random, size_t count) {
  Tokens out(count);
  for (TokenId& id : out)
    id = static_cast<TokenId>(random.next_below(static_cast<uint64_t>(tiny().config().vocab_size)));
  return out;
}

uint64_t page_bytes(const model::Model& model) {
  const model::KvLayout& layout = model.config().kv_layout(model::KvType::kF32);
  return static_cast<uint64_t>(layout.full_bytes + layout.window_bytes);
}

void compute(Runner& runner, Session& session, int32_t chunk = 512) {
  while (session.pending() > 0) {
    PassOptions options;
    options.tokens_max = chunk;
    ASSERT_GT(runner.pass(session, options), 0);
  }
}

// What a fresh session says after these tokens: the reference for everything below.
std::vector<float> logits_after(std::span<const TokenId> tokens) {
  ThreadPool pool(1);
  Session session(tiny(), {});
  EXPECT_TRUE(session.append(tokens).ok());
  Runner runner(tiny(), pool);
  compute(runner, session);
  return {session.logits().begin(), session.logits().end()};
}

bool same_bytes(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

TEST(Session, AppendQueuesAndPassComputes) {
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Session session(tiny(), {});
  EXPECT_EQ(session.context_max(), testing::kTinyContext);
  EXPECT_TRUE(session.logits().empty());
  ASSERT_TRUE(session.append(Tokens{1, 5, 9}).ok());
  EXPECT_EQ(session.length(), 3);
  EXPECT_EQ(session.pending(), 3);
  EXPECT_EQ(session.kv_bytes(), 0u);
  EXPECT_EQ(runner.pass(session), 3);
  EXPECT_EQ(session.pending(), 0);
  EXPECT_EQ(session.logits().size(), static_cast<size_t>(tiny().config().vocab_size));
  EXPECT_EQ(session.kv_bytes(), page_bytes(tiny()));
  EXPECT_EQ(runner.pass(session), 0);
  ASSERT_TRUE(session.append(7).ok());
  EXPECT_TRUE(session.logits().empty());
}

TEST(Session, AppendRefusesWhatDoesNotFitAndChangesNothing) {
  Session session(tiny(), {.context_max = 4});
  ASSERT_TRUE(session.append(Tokens{1, 2}).ok());
  const Status full = session.append(Tokens{1, 2, 3});
  ASSERT_FALSE(full.ok());
  EXPECT_NE(full.error().message.find("context of 4"), std::string::npos);
  EXPECT_FALSE(session.append(Tokens{tiny().config().vocab_size}).ok());
  EXPECT_FALSE(session.append(Tokens{-1}).ok());
  EXPECT_EQ(session.length(), 2);
}

TEST(Session, ChunksChangeNoBit) {
  RandomStream random(1, "chunks");
  const Tokens tokens = random_tokens(random, 100);
  const auto expected = logits_after(tokens);
  ThreadPool pool(2);
  Runner runner(tiny(), pool);
  for (const int32_t chunk : {1, 7, 31, 32, 33, 64, 99}) {
    Session session(tiny(), {});
    ASSERT_TRUE(session.append(tokens).ok());
    compute(runner, session, chunk);
    EXPECT_TRUE(same_bytes(session.logits(), expected)) << chunk;
  }
}

TEST(Session, RowsOfAllPositionsComeInOrder) {
  RandomStream random(2, "rows");
  const Tokens tokens = random_tokens(random, 40);
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Session session(tiny(), {});
  ASSERT_TRUE(session.append(tokens).ok());
  std::vector<int32_t> positions;
  PassOptions options;
  options.tokens_max = 16;
  options.row_from = 10;
  options.on_row = [&](const Session&, int32_t position, std::span<const float> row) {
    positions.push_back(position);
    if (position % 13 == 0) {
      EXPECT_TRUE(same_bytes(
          row, logits_after(std::span(tokens).first(static_cast<size_t>(position) + 1))));
    }
  };
  while (session.pending() > 0) runner.pass(session, options);
  ASSERT_EQ(positions.size(), 30u);
  for (size_t i = 0; i < positions.size(); ++i)
    EXPECT_EQ(positions[i], static_cast<int32_t>(i) + 10);
  EXPECT_TRUE(same_bytes(session.logits(), logits_after(tokens)));
}

TEST(Session, OnePassServesManySessions) {
  RandomStream random(3, "batch");
  ThreadPool pool(2);
  Runner runner(tiny(), pool);
  std::vector<Tokens> texts;
  std::vector<Session> sessions;
  std::vector<Session*> all;
  for (const size_t length : {1u, 50u, 33u, 7u}) {
    texts.push_back(random_tokens(random, length));
    sessions.emplace_back(tiny(), SessionOptions{});
    ASSERT_TRUE(sessions.back().append(texts.back()).ok());
  }
  for (Session& session : sessions) all.push_back(&session);
  PassOptions options;
  options.tokens_max = 40;  // cuts the second in two
  EXPECT_EQ(runner.pass(all, options), 40);
  EXPECT_EQ(sessions[1].pending(), 11);
  while (runner.pass(all, options) > 0) {
  }
  for (size_t i = 0; i < sessions.size(); ++i) {
    EXPECT_TRUE(same_bytes(sessions[i].logits(), logits_after(texts[i]))) << i;
  }
}

TEST(Session, ForkSharesPages) {
  RandomStream random(4, "fork");
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Session trunk(tiny(), {});
  ASSERT_TRUE(trunk.append(random_tokens(random, 45)).ok());
  compute(runner, trunk);
  Session branch = trunk.fork();
  EXPECT_TRUE(same_bytes(branch.logits(), trunk.logits()));
  Tokens a(trunk.tokens().begin(), trunk.tokens().end()), b = a;
  a.push_back(3);
  b.push_back(4);
  ASSERT_TRUE(trunk.append(3).ok());
  ASSERT_TRUE(branch.append(4).ok());
  Session* const both[] = {&trunk, &branch};
  runner.pass(both);
  EXPECT_TRUE(same_bytes(trunk.logits(), logits_after(a)));
  EXPECT_TRUE(same_bytes(branch.logits(), logits_after(b)));
}

// A fork that copies its open page leaves those before it to the other one, too.
TEST(Session, WhatAForkGoesBackToStaysAsItIsForTheOther) {
  RandomStream random(9, "back");
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  for (const bool copies_by_writing : {true, false}) {
    Tokens text = random_tokens(random, 84);
    Session trunk(tiny(), {});
    ASSERT_TRUE(trunk.append(text).ok());
    compute(runner, trunk);
    Session branch = trunk.fork();
    if (copies_by_writing) {
      ASSERT_TRUE(trunk.append(1).ok());
      compute(runner, trunk);
    } else {
      trunk.truncate(70);
    }
    trunk.truncate(40);
    ASSERT_TRUE(trunk.append(random_tokens(random, 9)).ok());
    compute(runner, trunk);
    EXPECT_TRUE(std::equal(text.begin(), text.end(), branch.tokens().begin()));
    text.push_back(2);
    ASSERT_TRUE(branch.append(2).ok());
    compute(runner, branch);
    EXPECT_TRUE(same_bytes(branch.logits(), logits_after(text)));
  }
}

// A timeline and the tokens that it should hold, kept apart from it.
struct Kept {
  Session session;
  Tokens text;
  void append(const Tokens& more) {
    const bool fits = text.size() + more.size() <= size_t{testing::kTinyContext};
    EXPECT_EQ(session.append(more).ok(), fits);
    if (fits) text.insert(text.end(), more.begin(), more.end());
  }
  void truncate(size_t length) {
    session.truncate(static_cast<int32_t>(length));
    text.resize(length);
  }
};

void random_step(std::vector<Kept>& kept, Runner& runner, RandomStream& random) {
  Kept& one = kept[random.next_below(kept.size())];
  const uint64_t action = random.next_below(10);
  if (action < 4) {
    one.append(random_tokens(random, random.next_below(40)));
  } else if (action < 6) {
    compute(runner, one.session, static_cast<int32_t>(1 + random.next_below(60)));
  } else if (action < 8 && kept.size() < 4) {
    kept.push_back({one.session.fork(), one.text});
  } else {
    one.truncate(random.next_below(one.text.size() + 1));
  }
}

// Random programs of append, compute, fork and truncate over several timelines; each must hold the
// tokens that were written down beside it, and say what a session says that computed them alone.
TEST(Session, RandomProgramsEqualRecomputation) {
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  for (uint64_t seed = 0; seed < 240; ++seed) {
    RandomStream random(seed, "programs");
    std::vector<Kept> kept;
    kept.push_back({Session(tiny(), {}), {}});
    for (int step = 0; step < 25; ++step) random_step(kept, runner, random);
    for (Kept& one : kept) {
      if (one.text.empty()) continue;
      if (one.session.pending() == 0) {  // cut back it has no logits: its last token anew
        one.truncate(one.text.size() - 1);
        one.append({5});
      }
      compute(runner, one.session);
      const auto tokens = one.session.tokens();
      ASSERT_TRUE(std::equal(tokens.begin(), tokens.end(), one.text.begin(), one.text.end()))
          << seed;
      ASSERT_TRUE(same_bytes(one.session.logits(), logits_after(one.text))) << seed;
    }
  }
}

TEST(Session, LabelsStartPagesOfTheirOwn) {
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Session session(tiny(), {});
  ASSERT_TRUE(session.append(Tokens{1, 2, 3}, 0).ok());
  ASSERT_TRUE(session.append(Tokens{4, 5}, 1).ok());
  ASSERT_TRUE(session.append(Tokens{6}, 0).ok());
  compute(runner, session);
  EXPECT_EQ(session.kv_bytes(), 3 * page_bytes(tiny()));
}

// A query's set of labels has 64 bits: another number would be taken for one of them.
TEST(Session, OnlyLabelsThatAQueryCanExcludeAreTaken) {
  Session session(tiny(), {});
  EXPECT_TRUE(session.append(Tokens{1}, 63).ok());
  const Status refused = session.append(Tokens{1}, 64);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().message, "label 64 is none: labels are 0 to 63");
  EXPECT_EQ(session.length(), 1);
}

std::shared_ptr<model::LabelVisibility> all_visible() {
  auto visibility = std::make_shared<model::LabelVisibility>();
  visibility->fill(~uint64_t{0});
  return visibility;
}

// What a label may not see has no part in what it says; what it may see has.
TEST(Session, TokensSeeWhatTheirLabelMay) {
  RandomStream random(8, "visibility");
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  const auto blind = all_visible();
  (*blind)[0] = ~uint64_t{2};  // all but label 1
  const Tokens trusted = random_tokens(random, 20), asked = random_tokens(random, 9);
  const auto say = [&](const std::shared_ptr<model::LabelVisibility>& visibility,
                       const Tokens& injected) {
    Session session(tiny(), {.visibility = visibility});
    EXPECT_TRUE(session.append(trusted, 0).ok());
    EXPECT_TRUE(session.append(injected, 1).ok());
    EXPECT_TRUE(session.append(asked, 0).ok());
    compute(runner, session, 7);
    return std::vector<float>(session.logits().begin(), session.logits().end());
  };
  const Tokens one = random_tokens(random, 40), other = random_tokens(random, 40);
  EXPECT_TRUE(same_bytes(say(blind, one), say(blind, other)));
  EXPECT_FALSE(same_bytes(say(nullptr, one), say(nullptr, other)));
  EXPECT_FALSE(same_bytes(say(blind, one), say(nullptr, one)));
  EXPECT_TRUE(same_bytes(say(all_visible(), one), say(nullptr, one)));
}

TEST(Session, ForksRunInThreadsOfTheirOwn) {
  RandomStream random(6, "threads");
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Session trunk(tiny(), {});
  ASSERT_TRUE(trunk.append(random_tokens(random, 40)).ok());
  compute(runner, trunk);
  std::vector<Session> forks;
  for (int i = 0; i < 3; ++i) forks.push_back(trunk.fork());
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&forks, i] {
      ThreadPool own_pool(1);
      Runner own(tiny(), own_pool);
      for (TokenId id = 0; id < 30; ++id) {
        ASSERT_TRUE(forks[static_cast<size_t>(i)].append(id + i).ok());
        own.pass(forks[static_cast<size_t>(i)]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const Session& fork : forks)
    EXPECT_TRUE(same_bytes(fork.logits(), logits_after(fork.tokens())));
}

}  // namespace
}  // namespace geist::engine
