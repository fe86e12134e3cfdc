// Random programs of everything that can happen to the pages of sessions, against the naive model.
// For tests only.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "engine/engine_test_support.h"
#include "engine/session.h"

namespace geist::engine {

// Spoils a byte, or the length, of a page in the folder.
inline void damage(const std::string& folder, RandomStream& random) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.path().extension() == ".page") files.push_back(entry.path().string());
  if (files.empty()) return;
  std::sort(files.begin(), files.end());
  const std::string& file = files[random.next_below(files.size())];
  // A new file in its place: what is mapped stays as it is.
  std::string bytes;
  {
    std::ifstream in(file, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  std::filesystem::remove(file);
  if (random.next_below(4) == 0) {
    bytes.resize(random.next_below(bytes.size()));
  } else {
    bytes[random.next_below(bytes.size())] ^= static_cast<char>(1 << random.next_below(8));
  }
  std::ofstream(file, std::ios::binary) << bytes;
}

// A timeline and what it should hold.
struct Timeline {
  Session session;
  Text text;
};

// Random programs of everything that can happen to timelines, against the naive model.
class Program {
 public:
  Program(const model::Model& model, uint64_t seed, Memory& memory, std::string store_folder)
      : model_(model),
        random_(seed, "programs"),
        memory_(memory),
        store_folder_(std::move(store_folder)),
        pool_(1),
        runner_(model, pool_) {
    prefix_ = random_text(random_, 60);
  }

  void run(int steps) {
    start();
    for (int step = 0; step < steps; ++step) this->step();
    for (Timeline& timeline : timelines_) verify(timeline);
  }

 private:
  void start() {
    timelines_.push_back({Session(model_, {.memory = &memory_, .domain = "test"}), {}});
    if (random_.next_below(3) == 0) return;
    grow(timelines_.back(), Text(prefix_));
  }

  void grow(Timeline& timeline, const Text& more) {
    const Status status = timeline.session.append(more.tokens, more.labels.front());
    if (!status.ok()) return;
    timeline.text.tokens.insert(timeline.text.tokens.end(), more.tokens.begin(), more.tokens.end());
    timeline.text.labels.insert(timeline.text.labels.end(), more.labels.begin(), more.labels.end());
  }

  void step() {
    const size_t index = random_.next_below(timelines_.size());
    Timeline& timeline = timelines_[index];
    const uint64_t action = random_.next_below(20);
    if (action < 6) {
      grow(timeline, random_text(random_, 1 + random_.next_below(45),
                                 static_cast<uint32_t>(random_.next_below(8) == 0)));
    } else if (action < 10) {
      pass_some();
    } else if (action < 11) {
      if (timelines_.size() < 6) timelines_.push_back({timeline.session.fork(), timeline.text});
    } else if (action < 12) {
      if (timelines_.size() < 6) start();
    } else if (action < 14) {
      const size_t length = random_.next_below(timeline.text.tokens.size() + 1);
      timeline.session.truncate(static_cast<int32_t>(length));
      timeline.text.cut(length);
    } else if (action < 15) {
      memory_.drop(timeline.session);
    } else if (action < 16) {
      memory_.demote(timeline.session);
    } else if (action < 17) {
      memory_.prefetch(timeline.session);
    } else if (action < 18) {
      if (pins_.size() < 2) {
        if (auto pin = memory_.pin(timeline.session); pin.ok()) pins_.push_back(std::move(*pin));
      } else {
        pins_.clear();
      }
    } else if (action < 19) {
      if (!store_folder_.empty()) damage(store_folder_, random_);
    } else if (timelines_.size() > 1) {
      timelines_.erase(timelines_.begin() + static_cast<std::ptrdiff_t>(index));
    }
  }

  void pass_some() {
    std::vector<Session*> some;
    for (Timeline& timeline : timelines_)
      if (random_.next_below(2) == 0) some.push_back(&timeline.session);
    runner_.pass(some, {.tokens_max = static_cast<int32_t>(1 + random_.next_below(90))});
  }

  void verify(Timeline& timeline) {
    if (timeline.text.tokens.empty()) return;
    if (timeline.session.logits().empty() && timeline.session.pending() == 0) {
      timeline.session.truncate(static_cast<int32_t>(timeline.text.tokens.size()) - 1);
      append_text(timeline.session, timeline.text, timeline.text.tokens.size() - 1);
    }
    compute(runner_, timeline.session, 33);
    EXPECT_TRUE(
        same_bytes(timeline.session.logits(), alone(model_, timeline.text, memory_.kv_type())));
    const auto tokens = timeline.session.tokens();
    EXPECT_TRUE(std::equal(tokens.begin(), tokens.end(), timeline.text.tokens.begin(),
                           timeline.text.tokens.end()));
    EXPECT_LE(memory_.stats().resident_bytes, memory_.budget_bytes());
  }

  const model::Model& model_;
  RandomStream random_;
  Memory& memory_;
  std::string store_folder_;
  ThreadPool pool_;
  Runner runner_;
  Text prefix_;
  std::vector<Timeline> timelines_;
  std::vector<Pin> pins_;
};

}  // namespace geist::engine
