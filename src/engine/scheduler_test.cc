#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "engine/engine_test_support.h"

namespace geist::engine {
namespace {

// A request that decodes greedily: its tokens must be those of a session alone.
struct Client {
  Client(Memory* memory, Text prompt_text, int32_t answer)
      : session(tiny(), {.memory = memory}), text(std::move(prompt_text)), left(answer) {
    append_text(session, text);
  }
  bool on_logits() {
    const std::vector<float> expected = alone(tiny(), text);
    EXPECT_TRUE(same_bytes(session.logits(), expected));
    ++rows;
    if (left-- == 0) return false;
    const auto best = std::max_element(expected.begin(), expected.end());
    const auto id = static_cast<TokenId>(best - expected.begin());
    text.add(id);
    EXPECT_TRUE(session.append(id).ok());
    return true;
  }
  Session session;
  Text text;
  int32_t left, rows = 0;
};

class SchedulerTest : public ::testing::Test {
 protected:
  Scheduler make(SchedulerOptions options = {}) {
    options.clock = [this] { return now_; };
    return Scheduler(runner_, std::move(options));
  }
  Scheduler::RequestId add(Scheduler& scheduler, Client& client, int32_t priority = 0) {
    return scheduler.add(
        client.session, [&](Session&) { return client.on_logits(); }, priority);
  }

  RandomStream random_{1, "scheduler"};
  ThreadPool pool_{1};
  Runner runner_{tiny(), pool_};
  double now_ = 0;
};

TEST_F(SchedulerTest, JoiningAndLeavingChangesNobodysBits) {
  for (const uint64_t pages : {0u, 12u, 60u}) {
    std::unique_ptr<Memory> memory;
    if (pages > 0)
      memory = std::make_unique<Memory>(tiny(),
                                        MemoryOptions{.budget_bytes = pages * tiny_page_bytes()});
    std::vector<std::unique_ptr<Client>> clients;
    Scheduler scheduler = make({.pass_tokens_max = 50});
    std::vector<Scheduler::RequestId> ids;
    const Text common = random_text(random_, 40);
    for (int step = 0; step < 60 || scheduler.requests() > 0; ++step) {
      ASSERT_LT(step, 3000);
      if (step < 60 && step % 5 == 0) {
        Text text = step % 2 == 0 ? common : random_text(random_, 1 + random_.next_below(90));
        const Text own = random_text(random_, 1 + random_.next_below(20));
        text.add(own);
        clients.push_back(std::make_unique<Client>(memory.get(), text,
                                                   static_cast<int32_t>(random_.next_below(30))));
        ids.push_back(add(scheduler, *clients.back(), static_cast<int32_t>(step % 3)));
      }
      if (step % 13 == 12) scheduler.cancel(ids[random_.next_below(ids.size())]);
      scheduler.step();
      if (memory) {
        EXPECT_LE(memory->stats().resident_bytes, memory->budget_bytes());
      }
    }
    int32_t finished = 0;
    for (const auto& client : clients) finished += client->left < 0 ? 1 : 0;
    EXPECT_GE(finished, 6);
  }
}

TEST_F(SchedulerTest, ALongPrefillLeavesDecodingItsLatency) {
  // A made-up machine: a pass takes 10 ms, and 1 ms for each token.
  Client talker(nullptr, random_text(random_, 5), 60);
  Client reader(nullptr, random_text(random_, 200), 0);
  int32_t computed = 0;
  SchedulerOptions options{.latency_max_s = 0.05, .pass_tokens_max = 100};
  options.clock = [&] {
    const int32_t now = talker.session.length() - talker.session.pending() +
                        reader.session.length() - reader.session.pending();
    if (now > computed) now_ += 0.010 + 0.001 * (now - computed);
    computed = now;
    return now_;
  };
  Scheduler scheduler(runner_, options);
  add(scheduler, talker);
  for (int i = 0; i < 5; ++i) scheduler.step();
  add(scheduler, reader);
  int passes = 0;
  for (; reader.rows == 0; ++passes) {
    const double begin = now_;
    const int32_t rows = talker.rows;
    scheduler.step();
    EXPECT_EQ(talker.rows, rows + 1) << "nobody waits";
    EXPECT_LE(now_ - begin, 0.0501);
  }
  EXPECT_LE(passes, 1 + 200 / 30);  // the first one measures; then the room is used
  EXPECT_NEAR(scheduler.prefill_budget(), 39, 1);
  // Without anyone who decodes, a pass is as large as it may be.
  scheduler.cancel(1);
  Client alone_now(nullptr, random_text(random_, 200), 0);
  add(scheduler, alone_now);
  scheduler.step();
  EXPECT_EQ(alone_now.session.pending(), 100);
}

// Nothing is known of prefill yet: a slow model's first chunk keeps the latency too.
TEST_F(SchedulerTest, TheFirstPrefillBesideDecodingKeepsTheLatency) {
  Client talker(nullptr, random_text(random_, 5), 60);
  Client reader(nullptr, random_text(random_, 200), 0);
  int32_t computed = 0;
  SchedulerOptions options{.latency_max_s = 0.2, .pass_tokens_max = 100};
  options.clock = [&] {  // 10 ms a pass, 20 ms a token
    const int32_t now = talker.session.length() - talker.session.pending() +
                        reader.session.length() - reader.session.pending();
    if (now > computed) now_ += 0.010 + 0.020 * (now - computed);
    computed = now;
    return now_;
  };
  Scheduler scheduler(runner_, options);
  add(scheduler, talker);
  for (int i = 0; i < 5; ++i) scheduler.step();
  add(scheduler, reader);
  while (reader.rows == 0) {
    const double begin = now_;
    scheduler.step();
    EXPECT_LE(now_ - begin, 0.2001);
  }
}

TEST_F(SchedulerTest, WhoeverWaitsIsServedInTheEnd) {
  Scheduler scheduler = make({.pass_tokens_max = 20, .passes_per_priority = 4});
  Client humble(nullptr, random_text(random_, 30), 1);
  add(scheduler, humble, -3);
  std::vector<std::unique_ptr<Client>> others;
  int step = 0;
  for (; humble.left >= 0; ++step) {
    ASSERT_LT(step, 100);
    others.push_back(std::make_unique<Client>(nullptr, random_text(random_, 50), 0));
    add(scheduler, *others.back(), 0);
    scheduler.step();
    if (step == 3) {
      EXPECT_EQ(humble.session.pending(), 30) << "the others come first";
    }
  }
}

// Three sessions of which any two are too large for the memory, with one budget.
TEST_F(SchedulerTest, SessionsThatDoNotFitTogetherAllEnd) {
  Machine machine(8);
  Scheduler scheduler = make({.pass_tokens_max = 32, .passes_stuck_max = 10});
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 3; ++i) {
    clients.push_back(std::make_unique<Client>(&machine.memory, random_text(random_, 180), 40));
    add(scheduler, *clients.back(), -i);
  }
  for (int step = 0; scheduler.requests() > 0; ++step) {
    ASSERT_LT(step, 2000);
    scheduler.step();
    EXPECT_LE(machine.memory.stats().resident_bytes, machine.memory.budget_bytes());
  }
  for (const auto& client : clients) EXPECT_EQ(client->rows, 41);
}

// A joiner that is too large does not keep out one that fits; it has its turn before the one that
// decodes has ended.
TEST_F(SchedulerTest, WhoFitsIsServedPastWhoDoesNot) {
  Machine machine(9);
  Scheduler scheduler = make({.passes_stuck_max = 40});
  Client talker(&machine.memory, random_text(random_, 60), 100);
  Client large(&machine.memory, random_text(random_, 230), 0);
  Client small(&machine.memory, random_text(random_, 40), 3);
  add(scheduler, talker);
  scheduler.step();
  add(scheduler, large);
  add(scheduler, small);
  for (int i = 0; i < 5; ++i) scheduler.step();
  EXPECT_EQ(small.rows, 4);
  EXPECT_EQ(large.rows, 0);
  for (int i = 0; i < 55 && large.rows < 1; ++i) scheduler.step();
  EXPECT_EQ(large.rows, 1);
  EXPECT_GT(talker.left, 0) << "the large one came first";
  while (scheduler.step()) {
  }
  EXPECT_EQ(talker.rows, 101);
}

// Pages of a long text come from the store a few at a time, and who decodes goes on meanwhile.
TEST_F(SchedulerTest, ReadingPagesLeavesDecodingItsLatency) {
  const Folder folder;
  const auto store = open_store(folder);
  Machine machine(100, store.get());
  const Text text = random_text(random_, 240);
  {
    Client writer(&machine.memory, text, 0);
    Scheduler scheduler = make();
    add(scheduler, writer);
    while (scheduler.step()) {
    }
    ASSERT_EQ(machine.memory.demote(writer.session), 7);
  }
  Client talker(&machine.memory, random_text(random_, 5), 40);
  Client reader(&machine.memory, text, 0);
  // Of a latency of nothing, one page a pass.
  Scheduler scheduler = make({.latency_max_s = 0});
  add(scheduler, talker);
  scheduler.step();
  add(scheduler, reader);
  uint64_t restored = 0;
  for (int pass = 0; reader.rows == 0; ++pass) {
    ASSERT_LT(pass, 30);
    const int32_t rows = talker.rows;
    scheduler.step();
    EXPECT_EQ(talker.rows, rows + 1) << "nobody waits";
    EXPECT_LE(machine.memory.stats().pages_restored, restored + 1);
    restored = machine.memory.stats().pages_restored;
  }
  EXPECT_EQ(restored, 7u);
}

TEST_F(SchedulerTest, CallbacksMayAddAndCancel) {
  Scheduler scheduler = make();
  Client first(nullptr, random_text(random_, 5), 0), second(nullptr, random_text(random_, 6), 3),
      third(nullptr, random_text(random_, 7), 1);
  Scheduler::RequestId second_id = 0;
  scheduler.add(first.session, [&](Session&) {
    EXPECT_TRUE(scheduler.cancel(second_id));
    EXPECT_FALSE(scheduler.cancel(second_id));
    add(scheduler, third);
    return false;
  });
  second_id = add(scheduler, second);
  while (scheduler.step()) {
  }
  EXPECT_EQ(second.rows, 0);
  EXPECT_EQ(third.rows, 2);
}

}  // namespace
}  // namespace geist::engine
