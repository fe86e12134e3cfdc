// Property tests of the virtual memory: whatever is shared, evicted, stored, damaged or restored, a
// session's logits are those of a fresh session that computes its tokens alone.
#include "engine/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <ctime>
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
  Memory memory(tiny(), {.budget_bytes = 100 * tiny_page_bytes()});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Text text = random_text(random, 100);
  Session first(tiny(), {.memory = &memory});
  append_text(first, text);
  compute(runner, first);
  Session second(tiny(), {.memory = &memory});
  text.tokens[98] ^= 1;
  append_text(second, text);
  EXPECT_EQ(runner.pass(second), 4);  // 3 pages of 32 were there
  EXPECT_TRUE(same_bytes(second.logits(), alone(tiny(), text)));
  EXPECT_EQ(memory.stats().tokens_shared, 96u);
  EXPECT_EQ(memory.stats().resident_bytes, 5 * tiny_page_bytes());
  // The same text again: its last token is computed, for the logits.
  Session third(tiny(), {.memory = &memory});
  text.cut(96);
  append_text(third, text);
  EXPECT_EQ(runner.pass(third), 32);
  EXPECT_TRUE(same_bytes(third.logits(), alone(tiny(), text)));
  EXPECT_EQ(memory.stats().resident_bytes, 5 * tiny_page_bytes());  // the same page, found again
}

TEST(Memory, PagesOutliveTheirSession) {
  RandomStream random(2, "outlive");
  Memory memory(tiny(), {.budget_bytes = 100 * tiny_page_bytes()});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  const Text text = random_text(random, 70);
  {
    Session session(tiny(), {.memory = &memory});
    append_text(session, text);
    compute(runner, session);
  }
  EXPECT_EQ(memory.stats().resident_bytes, 2 * tiny_page_bytes());
  Session again(tiny(), {.memory = &memory});
  append_text(again, text);
  EXPECT_EQ(runner.pass(again), 6);
  EXPECT_TRUE(same_bytes(again.logits(), alone(tiny(), text)));
}

TEST(Memory, SessionsThatBeginTogetherComputeOnce) {
  RandomStream random(11, "together");
  Memory memory(tiny(), {.budget_bytes = 100 * tiny_page_bytes()});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  const Text common = random_text(random, 70);
  std::vector<Session> sessions;
  std::vector<Session*> all;
  std::vector<Text> texts;
  for (TokenId i = 0; i < 5; ++i) {
    texts.push_back(common);
    texts.back().tokens.push_back(i);
    texts.back().labels.push_back(0);
    sessions.emplace_back(tiny(), SessionOptions{.memory = &memory});
    append_text(sessions.back(), texts.back());
  }
  for (Session& session : sessions) all.push_back(&session);
  int32_t computed = 0;
  while (const int32_t count = runner.pass(all, {.tokens_max = 40})) computed += count;
  EXPECT_EQ(computed, 64 + 5 * 7);
  for (size_t i = 0; i < texts.size(); ++i)
    EXPECT_TRUE(same_bytes(sessions[i].logits(), alone(tiny(), texts[i])));
}

TEST(Memory, DomainsAndLabelsNeverShare) {
  RandomStream random(3, "domains");
  Memory memory(tiny(), {.budget_bytes = 100 * tiny_page_bytes()});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  const Text text = random_text(random, 40);
  for (const char* domain : {"a", "b", ""}) {
    Session session(tiny(), {.memory = &memory, .domain = domain});
    append_text(session, text);
    EXPECT_EQ(runner.pass(session), 40) << domain;
  }
  Text labelled = text;
  labelled.labels.assign(40, 1);
  Session session(tiny(), {.memory = &memory});
  append_text(session, labelled);
  EXPECT_EQ(runner.pass(session), 40);
  EXPECT_EQ(memory.stats().tokens_shared, 0u);
}

// The same tokens under the same labels, but attended to otherwise.
TEST(Memory, SessionsOfDifferentVisibilityDoNotShare) {
  RandomStream random(12, "visibility");
  Memory memory(tiny(), {.budget_bytes = 100 * tiny_page_bytes()});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  const auto blind = std::make_shared<model::LabelVisibility>();
  blind->fill(~uint64_t{2});
  (*blind)[1] = ~uint64_t{0};
  Text text = random_text(random, 70);
  std::fill(text.labels.begin(), text.labels.begin() + 32, 1);
  std::vector<float> first[2];
  for (int round = 0; round < 2; ++round) {
    for (const bool sees : {true, false}) {
      Session session(tiny(), {.memory = &memory, .visibility = sees ? nullptr : blind});
      append_text(session, text);
      EXPECT_EQ(runner.pass(session), round == 0 ? 70 : 6) << sees;
      const std::vector<float> said(session.logits().begin(), session.logits().end());
      if (round == 0) first[sees] = said;
      EXPECT_TRUE(same_bytes(said, first[sees]));
    }
  }
  EXPECT_FALSE(same_bytes(first[0], first[1]));
}

TEST(Memory, APageThatALabelClosedIsSharedToo) {
  RandomStream random(4, "closed");
  Memory memory(tiny(), {.budget_bytes = 100 * tiny_page_bytes()});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Text text = random_text(random, 10);
  const Text other = random_text(random, 40, 1);
  text.tokens.insert(text.tokens.end(), other.tokens.begin(), other.tokens.end());
  text.labels.insert(text.labels.end(), other.labels.begin(), other.labels.end());
  Session first(tiny(), {.memory = &memory}), second(tiny(), {.memory = &memory});
  append_text(first, text);
  append_text(second, text);
  EXPECT_EQ(runner.pass(first), 50);
  EXPECT_EQ(runner.pass(second), 8);
  EXPECT_TRUE(same_bytes(first.logits(), alone(tiny(), text)));
  EXPECT_TRUE(same_bytes(second.logits(), alone(tiny(), text)));
  // Cut back to where the label changed, the closed page goes on, in a copy.
  second.truncate(10);
  Text longer = text;
  longer.cut(10);
  const Text rest = random_text(random, 30);
  longer.tokens.insert(longer.tokens.end(), rest.tokens.begin(), rest.tokens.end());
  longer.labels.insert(longer.labels.end(), rest.labels.begin(), rest.labels.end());
  append_text(second, longer, 10);
  compute(runner, second);
  EXPECT_TRUE(same_bytes(second.logits(), alone(tiny(), longer)));
  first.truncate(49);
  append_text(first, text, 49);
  compute(runner, first);
  EXPECT_TRUE(same_bytes(first.logits(), alone(tiny(), text)));
}

TEST(Memory, AdmissionNeverOvercommits) {
  RandomStream random(5, "admission");
  Memory memory(tiny(), {.budget_bytes = 4 * tiny_page_bytes()});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Session session(tiny(), {.memory = &memory});
  const Text text = random_text(random, 97);
  const Status refused = session.append(text.tokens);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("would need"), std::string::npos);
  EXPECT_EQ(session.length(), 0);
  ASSERT_TRUE(session.append(std::span(text.tokens).first(90)).ok());
  compute(runner, session);
  // Pinned pages are no longer free for others.
  auto pin = memory.pin(session);
  ASSERT_TRUE(pin.ok()) << pin.error().message;
  Session other(tiny(), {.memory = &memory});
  EXPECT_FALSE(other.append(TokenId{5}).ok());
  EXPECT_TRUE(session.append(TokenId{5}).ok());  // it stands on the pinned ones itself
  { const Pin gone = std::move(*pin); }
  EXPECT_TRUE(other.append(TokenId{5}).ok());
  EXPECT_EQ(memory.stats().pinned_bytes, 0u);
  compute(runner, other);
  compute(runner, session);
  EXPECT_LE(memory.stats().resident_bytes, memory.budget_bytes());
  EXPECT_TRUE(memory.pin(other).ok() == false);  // too little would be left for the first
}

TEST(Memory, RowsAreDeliveredOnceAlthoughPagesAreLost) {
  RandomStream random(6, "rows");
  Memory memory(tiny(), {.budget_bytes = 100 * tiny_page_bytes()});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  const Text text = random_text(random, 80);
  Session session(tiny(), {.memory = &memory});
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
    runner.pass(session, options);
    if (pass % 3 == 2 && pass < 9) memory.drop(session);
  }
  ASSERT_EQ(positions.size(), 80u);
  for (int32_t i = 0; i < 80; ++i) EXPECT_EQ(positions[static_cast<size_t>(i)], i);
  EXPECT_GT(memory.stats().pages_lost, 0u);
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
  Memory memory(
      tiny(), {.budget_bytes = 20 * tiny_page_bytes(), .store = store.get(), .weights = kWeights});
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back([&] { Program(tiny(), 7, memory, "").run(80); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_GT(memory.stats().tokens_shared, 0u);
}

TEST(Memory, PagesSurviveARestart) {
  RandomStream random(8, "restart");
  const Folder folder;
  const Text text = random_text(random, 150);
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  for (int round = 0; round < 2; ++round) {
    const auto store = open_store(folder);
    Memory memory(
        tiny(),
        {.budget_bytes = 100 * tiny_page_bytes(), .store = store.get(), .weights = kWeights});
    Session session(tiny(), {.memory = &memory});
    append_text(session, text);
    EXPECT_EQ(runner.pass(session), round == 0 ? 150 : 150 - 128);
    EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), text)));
    EXPECT_EQ(memory.save(session), 4);
  }
}

TEST(Memory, DemotedPagesComeBackAndDamagedOnesAreComputedAgain) {
  RandomStream random(9, "demote");
  const Folder folder;
  const auto store = open_store(folder);
  Memory memory(
      tiny(), {.budget_bytes = 100 * tiny_page_bytes(), .store = store.get(), .weights = kWeights});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Text text = random_text(random, 100);
  Session session(tiny(), {.memory = &memory});
  append_text(session, text);
  compute(runner, session);
  EXPECT_EQ(memory.demote(session), 3);
  EXPECT_EQ(memory.stats().resident_bytes, tiny_page_bytes());  // the open page
  memory.prefetch(session);
  EXPECT_EQ(memory.stats().pages_restored, 3u);
  EXPECT_EQ(memory.stats().resident_bytes, 4 * tiny_page_bytes());
  memory.demote(session);
  damage(folder.path(), random);
  text.tokens.push_back(3);
  text.labels.push_back(0);
  append_text(session, text, 100);
  compute(runner, session);
  EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), text)));
  EXPECT_EQ(store->stats().pages_damaged, 1u);
  EXPECT_GT(memory.stats().pages_lost, 0u);
}

std::vector<fs::path> page_files(const Folder& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder.path()))
    if (entry.path().extension() == ".page") files.push_back(entry.path());
  return files;
}

// Of a page that cannot be read nobody knows whether it is damaged: it is computed again, and its
// file stays.
TEST(Memory, PagesThatCannotBeReadAreComputedAgain) {
  RandomStream random(13, "unreadable");
  const Folder folder;
  const auto store = open_store(folder);
  Memory memory(
      tiny(), {.budget_bytes = 100 * tiny_page_bytes(), .store = store.get(), .weights = kWeights});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Text text = random_text(random, 100);
  Session session(tiny(), {.memory = &memory});
  append_text(session, text);
  compute(runner, session);
  ASSERT_EQ(memory.demote(session), 3);
  for (const fs::path& file : page_files(folder)) {  // what even root cannot read as a file
    fs::remove(file);
    fs::create_directory(file);
  }
  text.tokens.push_back(3);
  text.labels.push_back(0);
  append_text(session, text, 100);
  compute(runner, session);
  EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), text)));
  EXPECT_EQ(store->stats().pages_damaged, 0u);
  EXPECT_EQ(memory.stats().pages_lost, 4u);
  EXPECT_EQ(page_files(folder).size(), 3u);
}

// What was checked is what is used, whatever becomes of the file.
TEST(Memory, RestoredPagesDoNotDependOnTheirFiles) {
  RandomStream random(14, "spoilt");
  const Folder folder;
  const auto store = open_store(folder);
  Memory memory(
      tiny(), {.budget_bytes = 100 * tiny_page_bytes(), .store = store.get(), .weights = kWeights});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  Text text = random_text(random, 100);
  Session session(tiny(), {.memory = &memory});
  append_text(session, text);
  compute(runner, session);
  ASSERT_EQ(memory.demote(session), 3);
  memory.prefetch(session);
  ASSERT_EQ(memory.stats().pages_restored, 3u);
  for (const bool cut : {false, true}) {
    for (const fs::path& file : page_files(folder)) {
      const std::string noise(fs::file_size(file), 'x');
      std::fstream(file, std::ios::in | std::ios::out | std::ios::binary) << noise;
      if (cut) fs::resize_file(file, 0);
    }
    text.tokens.push_back(3);
    text.labels.push_back(0);
    append_text(session, text, text.tokens.size() - 1);
    compute(runner, session);
    EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), text))) << cut;
  }
}

// The end of a text is of no use without its beginning.
TEST(Memory, ATextThatIsTooLargeForTheStoreKeepsItsBeginning) {
  RandomStream random(15, "too large");
  const Folder folder;
  const Text text = random_text(random, 7 * 32 + 1), other = random_text(random, 3 * 32);
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  uint64_t page_file_bytes = 0;
  for (int round = 0; round < 4; ++round) {
    const auto store = open_store(folder, round == 0 ? 1 << 30 : 4 * page_file_bytes);
    Memory memory(
        tiny(),
        {.budget_bytes = 100 * tiny_page_bytes(), .store = store.get(), .weights = kWeights});
    const Text& said = round == 0 ? other : text;
    Session session(tiny(), {.memory = &memory});
    append_text(session, said);
    compute(runner, session);
    EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), said)));
    EXPECT_EQ(memory.stats().pages_restored, round < 2 ? 0u : 4u) << round;
    EXPECT_EQ(memory.save(session), round == 0 ? 3 : 4) << round;
    page_file_bytes = store->stats().bytes / store->stats().pages;
  }
}

// A pass that a callback ends by throwing holds nothing, and what it computed is not lost.
TEST(Memory, APassThatThrowsLeavesAllAsItShouldBe) {
  RandomStream random(17, "throw");
  Memory memory(tiny(), {.budget_bytes = 9 * tiny_page_bytes()});
  ThreadPool pool(1);
  Runner runner(tiny(), pool);
  for (Memory* const of : {&memory, static_cast<Memory*>(nullptr)}) {
    Text texts[] = {random_text(random, 40), random_text(random, 50)};
    Session first(tiny(), {.memory = of}), second(tiny(), {.memory = of});
    append_text(first, texts[0]);
    append_text(second, texts[1]);
    Session* const both[] = {&first, &second};
    const PassOptions options{.on_row = [](const Session&, int32_t position, auto) {
      if (position == 39) throw std::runtime_error("enough");
    }};
    EXPECT_THROW(runner.pass(both, options), std::runtime_error);
    EXPECT_EQ(first.pending() + second.pending(), 0);
    for (Session* session : both) {
      Text& text = texts[session == &second];
      text.tokens.push_back(3);
      text.labels.push_back(0);
      append_text(*session, text, text.tokens.size() - 1);
      compute(runner, *session);
      EXPECT_TRUE(same_bytes(session->logits(), alone(tiny(), text)));
    }
  }
  // All of the budget is free for one.
  const Text text = random_text(random, 250);
  Session large(tiny(), {.memory = &memory});
  append_text(large, text);
  compute(runner, large);
  EXPECT_TRUE(same_bytes(large.logits(), alone(tiny(), text)));
}

// Passes that wait for room sleep.
TEST(Memory, WhoWaitsForRoomUsesNoProcessor) {
  RandomStream random(16, "wait");
  Memory memory(tiny(), {.budget_bytes = 7 * tiny_page_bytes()});
  std::vector<Text> texts;
  for (int i = 0; i < 3; ++i) texts.push_back(random_text(random, 120));
  std::atomic<bool> holds = false, may_end = false;
  const auto run = [&](size_t i) {
    ThreadPool pool(1);
    Runner runner(tiny(), pool);
    Session session(tiny(), {.memory = &memory});
    append_text(session, texts[i]);
    const PassOptions options{.on_row = [&](const Session&, int32_t position, auto) {
      if (i > 0 || position > 0) return;
      holds = true;
      while (!may_end) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }};
    while (session.pending() > 0) runner.pass(session, options);
    EXPECT_TRUE(same_bytes(session.logits(), alone(tiny(), texts[i])));
  };
  for (const Text& text : texts) alone(tiny(), text);
  std::vector<std::thread> threads;
  threads.emplace_back(run, 0);
  while (!holds) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const std::clock_t begin = std::clock();
  threads.emplace_back(run, 1);
  threads.emplace_back(run, 2);
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  const double cpu_s = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  may_end = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_LT(cpu_s, 0.15);
}

}  // namespace
}  // namespace geist::engine
