// Property tests of the virtual memory: whatever is shared, evicted, stored, damaged or restored, a
// session's logits are those of a fresh session that computes its tokens alone.
#include "engine/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "base/rng.h"
#include "engine/engine_test_support.h"
#include "engine/program_test_support.h"
#include "engine/session.h"

namespace geist::engine {
namespace {

namespace fs = std::filesystem;

TEST(Memory, SessionsThatBeginAlikeShare) {
  RandomStream random(1, "share");
  Machine machine;
  Text text = random_text(random, 100);
  Session first = machine.session();
  append_text(first, text);
  compute(machine.runner, first);
  Session second = machine.session();
  text.tokens[98] ^= 1;
  append_text(second, text);
  EXPECT_EQ(machine.runner.pass(second), 4);  // 3 pages of 32 were there
  EXPECT_TRUE(same_bytes(second.logits(), alone(tiny(), text)));
  EXPECT_EQ(machine.memory.stats().tokens_shared, 96u);
  EXPECT_EQ(machine.memory.stats().resident_bytes, 5 * tiny_page_bytes());
  // The same text again: its last token is computed, for the logits.
  Session third = machine.session();
  text.cut(96);
  append_text(third, text);
  EXPECT_EQ(machine.runner.pass(third), 32);
  EXPECT_TRUE(same_bytes(third.logits(), alone(tiny(), text)));
  EXPECT_EQ(machine.memory.stats().resident_bytes,
            5 * tiny_page_bytes());  // the same page, found again
}

TEST(Memory, PagesOutliveTheirSession) {
  RandomStream random(2, "outlive");
  Machine machine;
  const Text text = random_text(random, 70);
  {
    Session session = machine.session();
    append_text(session, text);
    compute(machine.runner, session);
  }
  EXPECT_EQ(machine.memory.stats().resident_bytes, 2 * tiny_page_bytes());
  Session again = machine.session();
  append_text(again, text);
  EXPECT_EQ(machine.runner.pass(again), 6);
  EXPECT_TRUE(same_bytes(again.logits(), alone(tiny(), text)));
}

TEST(Memory, SessionsThatBeginTogetherComputeOnce) {
  RandomStream random(11, "together");
  Machine machine;
  const Text common = random_text(random, 70);
  std::vector<Session> sessions;
  std::vector<Session*> all;
  std::vector<Text> texts;
  for (TokenId i = 0; i < 5; ++i) {
    texts.push_back(common);
    texts.back().add(i);
    sessions.emplace_back(tiny(), SessionOptions{.memory = &machine.memory});
    append_text(sessions.back(), texts.back());
  }
  for (Session& session : sessions) all.push_back(&session);
  int32_t computed = 0;
  while (const int32_t count = machine.runner.pass(all, {.tokens_max = 40})) computed += count;
  EXPECT_EQ(computed, 64 + 5 * 7);
  for (size_t i = 0; i < texts.size(); ++i)
    EXPECT_TRUE(same_bytes(sessions[i].logits(), alone(tiny(), texts[i])));
}

TEST(Memory, DomainsAndLabelsNeverShare) {
  RandomStream random(3, "domains");
  Machine machine;
  const Text text = random_text(random, 40);
  for (const char* domain : {"a", "b", ""}) {
    Session session(tiny(), {.memory = &machine.memory, .domain = domain});
    append_text(session, text);
    EXPECT_EQ(machine.runner.pass(session), 40) << domain;
  }
  Text labelled = text;
  labelled.labels.assign(40, 1);
  Session session = machine.session();
  append_text(session, labelled);
  EXPECT_EQ(machine.runner.pass(session), 40);
  EXPECT_EQ(machine.memory.stats().tokens_shared, 0u);
}

// The same tokens under the same labels, but attended to otherwise.
TEST(Memory, SessionsOfDifferentVisibilityDoNotShare) {
  RandomStream random(12, "visibility");
  Machine machine;
  const auto blind = std::make_shared<model::LabelVisibility>();
  blind->fill(~uint64_t{2});
  (*blind)[1] = ~uint64_t{0};
  Text text = random_text(random, 70);
  std::fill(text.labels.begin(), text.labels.begin() + 32, 1);
  std::vector<float> first[2];
  for (int round = 0; round < 2; ++round) {
    for (const bool sees : {true, false}) {
      Session session(tiny(), {.memory = &machine.memory, .visibility = sees ? nullptr : blind});
      append_text(session, text);
      EXPECT_EQ(machine.runner.pass(session), round == 0 ? 70 : 6) << sees;
      const std::vector<float> said(session.logits().begin(), session.logits().end());
      if (round == 0) first[sees] = said;
      EXPECT_TRUE(same_bytes(said, first[sees]));
    }
  }
  EXPECT_FALSE(same_bytes(first[0], first[1]));
}

TEST(Memory, APageThatALabelClosedIsSharedToo) {
  RandomStream random(4, "closed");
  Machine machine;
  Text text = random_text(random, 10);
  const Text other = random_text(random, 40, 1);
  text.add(other);
  Session first = machine.session(), second = machine.session();
  append_text(first, text);
  append_text(second, text);
  EXPECT_EQ(machine.runner.pass(first), 50);
  EXPECT_EQ(machine.runner.pass(second), 8);
  EXPECT_TRUE(same_bytes(first.logits(), alone(tiny(), text)));
  EXPECT_TRUE(same_bytes(second.logits(), alone(tiny(), text)));
  // Cut back to where the label changed, the closed page goes on, in a copy.
  second.truncate(10);
  Text longer = text;
  longer.cut(10);
  const Text rest = random_text(random, 30);
  longer.add(rest);
  append_text(second, longer, 10);
  compute(machine.runner, second);
  EXPECT_TRUE(same_bytes(second.logits(), alone(tiny(), longer)));
  first.truncate(49);
  append_text(first, text, 49);
  compute(machine.runner, first);
  EXPECT_TRUE(same_bytes(first.logits(), alone(tiny(), text)));
}

TEST(Memory, AdmissionNeverOvercommits) {
  RandomStream random(5, "admission");
  Machine machine(4);
  Session session = machine.session();
  const Text text = random_text(random, 97);
  const Status refused = session.append(text.tokens);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("would need"), std::string::npos);
  EXPECT_EQ(session.length(), 0);
  ASSERT_TRUE(session.append(std::span(text.tokens).first(90)).ok());
  compute(machine.runner, session);
  // Pinned pages are no longer free for others.
  auto pin = machine.memory.pin(session);
  ASSERT_TRUE(pin.ok()) << pin.error().message;
  Session other = machine.session();
  EXPECT_FALSE(other.append(TokenId{5}).ok());
  EXPECT_TRUE(session.append(TokenId{5}).ok());  // it stands on the pinned ones itself
  { const Pin gone = std::move(*pin); }
  EXPECT_TRUE(other.append(TokenId{5}).ok());
  EXPECT_EQ(machine.memory.stats().pinned_bytes, 0u);
  compute(machine.runner, other);
  compute(machine.runner, session);
  EXPECT_LE(machine.memory.stats().resident_bytes, machine.memory.budget_bytes());
  EXPECT_TRUE(machine.memory.pin(other).ok() == false);  // too little would be left for the first
}

TEST(Memory, RowsAreDeliveredOnceAlthoughPagesAreLost) {
  RandomStream random(6, "rows");
  Machine machine;
  const Text text = random_text(random, 80);
  Session session = machine.session();
  append_text(session, text);
  std::vector<int32_t> positions;
  PassOptions options;
  options.tokens_max = 16;
  options.on_row = [&](const Session&, int32_t position, std::span<const float> row) {
    positions.push_back(position);
    Text front = text;
    front.cut(static_cast<size_t>(position) + 1);
    if (position % 20 == 7) {
      EXPECT_TRUE(same_bytes(row, alone(tiny(), front)));
    }
  };
  for (int pass = 0; session.pending() > 0; ++pass) {
    machine.runner.pass(session, options);
    if (pass % 3 == 2 && pass < 9) machine.memory.drop(session);
  }
  ASSERT_EQ(positions.size(), 80u);
  for (int32_t i = 0; i < 80; ++i) EXPECT_EQ(positions[static_cast<size_t>(i)], i);
  EXPECT_GT(machine.memory.stats().pages_lost, 0u);
  EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), text)));
}

TEST(Memory, RandomProgramsEqualRecomputation) {
  Memory::Stats sum;
  uint64_t damaged = 0;
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const Folder folder;
    std::unique_ptr<PageStore> store;
    if (seed % 3 != 0) store = open_store(folder, seed % 3 == 1 ? 20 * tiny_page_bytes() : 1 << 30);
    Memory memory(tiny(), {.budget_bytes = (10 + seed) * tiny_page_bytes(),
                           .store = store.get(),
                           .weights = kWeights});
    Program(tiny(), seed, memory, store ? folder.path() : "").run(60);
    if (::testing::Test::HasFailure()) FAIL() << "seed " << seed;
    const Memory::Stats stats = memory.stats();
    sum.tokens_shared += stats.tokens_shared;
    sum.pages_restored += stats.pages_restored;
    sum.pages_evicted += stats.pages_evicted;
    sum.pages_lost += stats.pages_lost;
    if (store) damaged += store->stats().pages_damaged;
  }
  // The programs do what they are meant to do.
  EXPECT_GT(sum.tokens_shared, 100u);
  EXPECT_GT(sum.pages_restored, 5u);
  EXPECT_GT(sum.pages_evicted, 100u);
  EXPECT_GT(sum.pages_lost, 30u);
  EXPECT_GT(damaged, 3u);
}

TEST(Memory, ThreadsShareOneMemory) {
  const Folder folder;
  const auto store = open_store(folder);
  Machine machine(20, store.get());
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([&] { Program(tiny(), 7, machine.memory, "").run(80); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(machine.memory.stats().tokens_shared, 0u);
}

TEST(Memory, PagesSurviveARestart) {
  RandomStream random(8, "restart");
  const Folder folder;
  const Text text = random_text(random, 150);
  for (int round = 0; round < 2; ++round) {
    const auto store = open_store(folder);
    Machine machine(100, store.get());
    Session session = machine.session();
    append_text(session, text);
    EXPECT_EQ(machine.runner.pass(session), round == 0 ? 150 : 150 - 128);
    EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), text)));
    EXPECT_EQ(machine.memory.save(session), 4);
  }
}

// A text of 100 tokens whose three full pages lie in a store and nowhere else.
struct Demoted {
  explicit Demoted(RandomStream& random) : text(random_text(random, 100)) {
    append_text(session, text);
    compute(machine.runner, session);
    EXPECT_EQ(machine.memory.demote(session), 3);
  }

  std::vector<fs::path> page_files() const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(folder.path()))
      if (entry.path().extension() == ".page") files.push_back(entry.path());
    return files;
  }

  // One more token, and the logits of a text that nothing happened to.
  void go_on() {
    text.add(3);
    append_text(session, text, text.tokens.size() - 1);
    compute(machine.runner, session);
    EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), text)));
  }

  const Folder folder;
  const std::unique_ptr<PageStore> store = open_store(folder);
  Machine machine{100, store.get()};
  Text text;
  Session session = machine.session();
};

TEST(Memory, DemotedPagesComeBackAndDamagedOnesAreComputedAgain) {
  RandomStream random(9, "demote");
  Demoted d(random);
  EXPECT_EQ(d.machine.memory.stats().resident_bytes, tiny_page_bytes());  // the open page
  d.machine.memory.prefetch(d.session);
  EXPECT_EQ(d.machine.memory.stats().pages_restored, 3u);
  EXPECT_EQ(d.machine.memory.stats().resident_bytes, 4 * tiny_page_bytes());
  d.machine.memory.demote(d.session);
  damage(d.folder.path(), random);
  d.go_on();
  EXPECT_EQ(d.store->stats().pages_damaged, 1u);
  EXPECT_GT(d.machine.memory.stats().pages_lost, 0u);
}

// Of a page that cannot be read nobody knows whether it is damaged: it is computed again, and its
// file stays.
TEST(Memory, PagesThatCannotBeReadAreComputedAgain) {
  RandomStream random(13, "unreadable");
  Demoted d(random);
  for (const fs::path& file : d.page_files()) {  // what even root cannot read as a file
    fs::remove(file);
    fs::create_directory(file);
  }
  d.go_on();
  EXPECT_EQ(d.store->stats().pages_damaged, 0u);
  EXPECT_EQ(d.machine.memory.stats().pages_lost, 4u);
  EXPECT_EQ(d.page_files().size(), 3u);
}

// What was checked is what is used, whatever becomes of the file.
TEST(Memory, RestoredPagesDoNotDependOnTheirFiles) {
  RandomStream random(14, "spoilt");
  Demoted d(random);
  d.machine.memory.prefetch(d.session);
  ASSERT_EQ(d.machine.memory.stats().pages_restored, 3u);
  for (const bool cut : {false, true}) {
    for (const fs::path& file : d.page_files()) {
      const std::string noise(fs::file_size(file), 'x');
      std::fstream(file, std::ios::in | std::ios::out | std::ios::binary) << noise;
      if (cut) fs::resize_file(file, 0);
    }
    d.go_on();
  }
}

// The end of a text is of no use without its beginning.
TEST(Memory, ATextThatIsTooLargeForTheStoreKeepsItsBeginning) {
  RandomStream random(15, "too large");
  const Folder folder;
  const Text text = random_text(random, 7 * 32 + 1), other = random_text(random, 3 * 32);
  uint64_t page_file_bytes = 0;
  for (int round = 0; round < 4; ++round) {
    const auto store = open_store(folder, round == 0 ? 1 << 30 : 4 * page_file_bytes);
    Machine machine(100, store.get());
    const Text& said = round == 0 ? other : text;
    Session session = machine.session();
    append_text(session, said);
    compute(machine.runner, session);
    EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), said)));
    EXPECT_EQ(machine.memory.stats().pages_restored, round < 2 ? 0u : 4u) << round;
    EXPECT_EQ(machine.memory.save(session), round == 0 ? 3 : 4) << round;
    page_file_bytes = store->stats().bytes / store->stats().pages;
  }
}

// A pass that a callback ends by throwing holds nothing, and what it computed is not lost.
TEST(Memory, APassThatThrowsLeavesAllAsItShouldBe) {
  RandomStream random(17, "throw");
  Machine machine(9);
  for (Memory* const of : {&machine.memory, static_cast<Memory*>(nullptr)}) {
    Text texts[] = {random_text(random, 40), random_text(random, 50)};
    Session first(tiny(), {.memory = of}), second(tiny(), {.memory = of});
    append_text(first, texts[0]);
    append_text(second, texts[1]);
    Session* const both[] = {&first, &second};
    const PassOptions options{.on_row = [](const Session&, int32_t position, auto) {
      if (position == 39) throw std::runtime_error("enough");
    }};
    EXPECT_THROW(machine.runner.pass(both, options), std::runtime_error);
    EXPECT_EQ(first.pending() + second.pending(), 0);
    for (Session* session : both) {
      Text& text = texts[session == &second];
      text.add(3);
      append_text(*session, text, text.tokens.size() - 1);
      compute(machine.runner, *session);
      EXPECT_TRUE(same_bytes(session->logits(), alone(tiny(), text)));
    }
  }
  // All of the budget is free for one.
  const Text text = random_text(random, 250);
  Session large = machine.session();
  append_text(large, text);
  compute(machine.runner, large);
  EXPECT_TRUE(same_bytes(large.logits(), alone(tiny(), text)));
}

// Two passes that wait for a third one's room sleep until it is there: they do not wake each other.
TEST(Memory, WhoWaitsForRoomSleeps) {
  RandomStream random(16, "wait");
  Machine machine(7);
  std::vector<Text> texts;
  for (int i = 0; i < 3; ++i) texts.push_back(random_text(random, 120));
  std::atomic<bool> holds = false, may_end = false;
  const auto run = [&](size_t i) {
    ThreadPool pool(1);
    Runner runner(tiny(), pool);
    Session session = machine.session();
    append_text(session, texts[i]);
    const PassOptions options{.on_row = [&](const Session&, int32_t position, auto) {
      if (i > 0 || position > 0) return;
      holds = true;
      while (!may_end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }};
    while (session.pending() > 0) runner.pass(session, options);
    EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), texts[i])));
  };
  const auto waits = [&] { return machine.memory.stats().waits; };
  std::vector<std::thread> threads;
  threads.emplace_back(run, 0);
  while (!holds) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  threads.emplace_back(run, 1);
  threads.emplace_back(run, 2);
  while (waits() < 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));  // for thousands of turns of a spin
  EXPECT_LE(waits(), 6u);
  may_end = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace geist::engine
