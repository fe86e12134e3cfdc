// What the tests of sessions, memory and scheduler share: the tiny model, texts, and the naive
// model that computes everything alone. For tests only.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "base/rng.h"
#include "engine/memory.h"
#include "engine/page_store.h"
#include "engine/session.h"
#include "tests/support/tiny_model.h"

namespace geist::engine {

struct Text {
  std::vector<TokenId> tokens;
  std::vector<uint32_t> labels;
  void cut(size_t length) {
    tokens.resize(length);
    labels.resize(length);
  }
  void add(TokenId token, uint32_t label = 0) {
    tokens.push_back(token);
    labels.push_back(label);
  }
  void add(const Text& text) {
    tokens.insert(tokens.end(), text.tokens.begin(), text.tokens.end());
    labels.insert(labels.end(), text.labels.begin(), text.labels.end());
  }
};

inline const model::Model& tiny() {
  static const std::unique_ptr<model::Model> model = [] {
    auto loaded = model::Model::load(testing::tiny_model());
    EXPECT_TRUE(loaded.ok());
    return std::move(*loaded);
  }();
  return *model;
}

inline uint64_t tiny_page_bytes() {
  const model::KvLayout& layout = tiny().config().kv_layout(model::KvType::kF32);
  return static_cast<uint64_t>(layout.full_bytes + layout.window_bytes);
}

inline constexpr Sha256Digest kWeights = {1, 2, 3};

class Folder {
 public:
  Folder() {
    static int count = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("geist_engine_test." + std::to_string(::getpid()) + "." + std::to_string(count++));
    std::filesystem::remove_all(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

inline std::unique_ptr<PageStore> open_store(const Folder& folder, uint64_t bytes_max = 1 << 30) {
  auto store = PageStore::open(folder.path(), {.bytes_max = bytes_max});
  EXPECT_TRUE(store.ok());
  return std::move(*store);
}

// The tiny model with a memory of so many pages, and what runs it.
struct Machine {
  explicit Machine(uint64_t pages = 100, PageStore* store = nullptr)
      : memory(tiny(), {.budget_bytes = pages * tiny_page_bytes(),
                        .store = store,
                        .weights = store != nullptr ? kWeights : Sha256Digest{}}) {}
  Session session() { return Session(tiny(), {.memory = &memory}); }

  Memory memory;
  ThreadPool pool{1};
  Runner runner{tiny(), pool};
};

inline void append_text(Session& session, const Text& text, size_t from = 0) {
  for (size_t i = from; i < text.tokens.size(); ++i)
    ASSERT_TRUE(session.append({&text.tokens[i], 1}, text.labels[i]).ok());
}

inline void compute(Runner& runner, Session& session, int32_t chunk = 512) {
  while (session.pending() > 0) runner.pass(session, {.tokens_max = chunk});
}

// The naive model: everything computed alone, in one go. Remembers what it computed.
inline std::vector<float> alone(const model::Model& model, const Text& text,
                                model::KvType kv_type = model::KvType::kF32) {
  static std::mutex mutex;
  static std::map<
      std::tuple<const void*, model::KvType, std::vector<TokenId>, std::vector<uint32_t>>,
      std::vector<float>>
      known;
  const std::lock_guard lock(mutex);
  auto& logits = known[{&model, kv_type, text.tokens, text.labels}];
  if (logits.empty()) {
    ThreadPool pool(1);
    Runner runner(model, pool);
    Session session(model, {.kv_type = kv_type});
    append_text(session, text);
    compute(runner, session);
    logits.assign(session.logits().begin(), session.logits().end());
  }
  return logits;
}

inline bool same_bytes(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

inline Text random_text(RandomStream& random, size_t count, uint32_t label = 0) {
  Text text;
  for (size_t i = 0; i < count; ++i) text.add(static_cast<TokenId>(random.next_below(200)), label);
  return text;
}

}  // namespace geist::engine
