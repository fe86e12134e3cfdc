// What context as virtual memory costs and saves, on any model: forks, sharing, restoring against
// prefilling, and swapping under pressure. Prints CSV; every part also checks the bytes of the
// logits against a session that computed its tokens alone.
//
//   vm_bench MODEL.gguf FOLDER [tokens=512] [sessions=1000] [common=2048] [> results.csv]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/rng.h"
#include "engine/session.h"
#include "engine/weights_digest.h"
#include "gguf/gguf.h"

namespace geist::engine {
namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<TokenId>;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "vm_bench: %s\n", what);
  std::exit(1);
}

void row(const char* part, const std::string& item, double value, const char* unit) {
  std::printf("%s,%s,%.6g,%s\n", part, item.c_str(), value, unit);
  std::fflush(stdout);
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2),
                   values.end());
  return values[values.size() / 2];
}

class Bench {
 public:
  Bench(const model::Model& model, ThreadPool& pool, std::string folder)
      : model_(model), pool_(pool), runner_(model, pool), folder_(std::move(folder)) {}

  void fork_cost(int32_t tokens);
  void share(int32_t sessions, int32_t common);
  void restore(int32_t tokens);
  void swap(int32_t tokens, bool with_store);

 private:
  Tokens random_tokens(uint64_t seed, int32_t count) const {
    RandomStream random(seed, "vm_bench");
    Tokens tokens(static_cast<size_t>(count));
    for (TokenId& id : tokens)
      id = static_cast<TokenId>(
          random.next_below(static_cast<uint64_t>(model_.config().vocab_size)));
    return tokens;
  }
  Session start(Memory* memory, const Tokens& tokens) {
    Session session(model_, {.context_max = 1 << 20, .memory = memory});
    const Status status = session.append(tokens);
    if (!status.ok()) require(false, status.error().message.c_str());
    return session;
  }
  int64_t compute(Session& session) {
    int64_t computed = 0;
    while (session.pending() > 0) computed += runner_.pass(session);
    return computed;
  }
  void check(const Session& session) {
    Session alone = start(nullptr, Tokens(session.tokens().begin(), session.tokens().end()));
    compute(alone);
    require(std::memcmp(alone.logits().data(), session.logits().data(),
                        session.logits().size_bytes()) == 0,
            "logits differ from those computed alone");
  }
  std::unique_ptr<PageStore> open_store() {
    auto store = PageStore::open(folder_, {.bytes_max = uint64_t{1} << 40});
    if (!store.ok()) require(false, store.error().message.c_str());
    return std::move(*store);
  }

  const model::Model& model_;
  ThreadPool& pool_;
  Runner runner_;
  std::string folder_;
};

// The time of fork() by the number of pages behind it.
void Bench::fork_cost(int32_t tokens) {
  Session session = start(nullptr, {0});
  compute(session);
  const Tokens all = random_tokens(1, tokens);
  for (int32_t length = 32; length <= tokens; length *= 4) {
    const int32_t have = session.length();
    require(session
                .append(std::span(all).subspan(static_cast<size_t>(have),
                                               static_cast<size_t>(length - have)))
                .ok(),
            "no room");
    compute(session);
    std::vector<double> times;
    for (int repeat = 0; repeat < 101; ++repeat) {
      const double begin = now_s();
      for (int i = 0; i < 100; ++i) const Session copy = session.fork();
      times.push_back((now_s() - begin) / 100);
    }
    row("fork", std::to_string(length / 32) + " pages", median(times) * 1e9, "ns");
  }
}

// Sessions that are not told that they begin alike.
void Bench::share(int32_t sessions, int32_t common) {
  Memory memory(model_, {});
  Tokens tokens = random_tokens(2, common);
  tokens.resize(tokens.size() + 3);
  std::vector<Session> all;
  int64_t computed = 0;
  uint64_t alone_bytes = 0;
  for (int32_t i = 0; i < sessions; ++i) {
    for (size_t j = 0; j < 3; ++j)
      tokens[tokens.size() - 1 - j] =
          static_cast<TokenId>((static_cast<size_t>(i) >> (4 * j)) % 16 + 1);
    all.push_back(start(&memory, tokens));
    computed += compute(all.back());
    alone_bytes += all.back().kv_bytes();
  }
  check(all.back());
  const double resident = static_cast<double>(memory.stats().resident_bytes);
  const std::string item =
      std::to_string(sessions) + " sessions, " + std::to_string(common) + " common tokens: ";
  row("share", item + "memory alone / shared", static_cast<double>(alone_bytes) / resident, "x");
  row("share", item + "memory shared", resident / 1e6, "MB");
  row("share", item + "tokens alone / computed",
      static_cast<double>(tokens.size()) * sessions / static_cast<double>(computed), "x");
}

// What a restart costs: the pages of a text from the store, against prefilling it.
void Bench::restore(int32_t tokens) {
  const Sha256Digest weights = weights_digest(model_.file(), pool_);
  const auto store = open_store();
  const MemoryOptions options{.store = store.get(), .weights = weights};
  const Tokens text = random_tokens(3, tokens + 1);
  double prefill_s = 0, save_s = 0;
  {
    Memory memory(model_, options);
    Session session = start(&memory, text);
    double begin = now_s();
    compute(session);
    prefill_s = now_s() - begin;
    begin = now_s();
    require(memory.save(session) == tokens / 32, "the store took fewer pages");
    save_s = now_s() - begin;
  }
  std::vector<double> times;
  for (int repeat = 0; repeat < 5; ++repeat) {
    Memory memory(model_, options);
    Session session = start(&memory, text);
    const double begin = now_s();
    memory.prefetch(session);
    times.push_back(now_s() - begin);
    require(session.pending() == 1, "fewer pages came back");
    compute(session);
    if (repeat == 0) check(session);
  }
  const std::string item = std::to_string(tokens) + " tokens: ";
  row("restore", item + "prefill", prefill_s, "s");
  row("restore", item + "save", save_s, "s");
  row("restore", item + "restore", median(times), "s");
  row("restore", item + "prefill / restore", prefill_s / median(times), "x");
}

// Six sessions take turns in memory for three of them.
void Bench::swap(int32_t tokens, bool with_store) {
  constexpr int kSessions = 6, kRounds = 2;
  const Sha256Digest weights = weights_digest(model_.file(), pool_);
  const auto store = open_store();
  Session probe = start(nullptr, random_tokens(4, 1));
  compute(probe);
  const uint64_t session_bytes = probe.kv_bytes() * static_cast<uint64_t>(tokens / 32 + 2);
  Memory memory(model_, {.budget_bytes = 3 * session_bytes,
                         .store = with_store ? store.get() : nullptr,
                         .weights = weights});
  std::vector<Session> sessions;
  for (uint64_t i = 0; i < kSessions; ++i) {
    sessions.push_back(start(&memory, random_tokens(10 + i, tokens)));
    compute(sessions.back());
  }
  const double begin = now_s();
  for (int round = 0; round < kRounds; ++round) {
    for (Session& session : sessions) {
      require(session.append(TokenId{5}).ok(), "no room");
      compute(session);
    }
  }
  const double seconds = (now_s() - begin) / (kSessions * kRounds);
  check(sessions.front());
  const Memory::Stats stats = memory.stats();
  const std::string item = std::string(with_store ? "with" : "without") +
                           " a store, 6 sessions of " + std::to_string(tokens) +
                           " tokens in memory for 3: ";
  row("swap", item + "seconds a turn", seconds, "s");
  row("swap", item + "pages restored", static_cast<double>(stats.pages_restored), "pages");
  row("swap", item + "pages computed again", static_cast<double>(stats.pages_lost), "pages");
}

int run(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: vm_bench MODEL.gguf FOLDER [tokens] [sessions] [common]\n");
    return 2;
  }
  const auto number = [&](int i, int32_t otherwise) {
    return argc > i ? std::atoi(argv[i]) / 32 * 32 : otherwise;
  };
  const int32_t tokens = number(3, 512), common = number(5, 2048);
  const int32_t sessions = argc > 4 ? std::atoi(argv[4]) : 1000;
  auto file = gguf::File::open(argv[1]);
  if (!file.ok()) require(false, file.error().message.c_str());
  ThreadPool pool;
  auto model = model::Model::load(std::move(*file), {.pool = &pool});
  if (!model.ok()) require(false, model.error().message.c_str());
  require(tokens >= 64 && sessions > 0 && common >= 32, "too few tokens or sessions");
  const std::string folder = std::string(argv[2]) + "/vm_bench";
  fs::remove_all(folder);
  std::printf("part,item,value,unit\n");
  Bench bench(**model, pool, folder);
  bench.fork_cost(tokens);
  bench.restore(tokens);
  bench.swap(tokens, false);
  bench.swap(tokens, true);
  bench.share(sessions, common);
  fs::remove_all(folder);
  return 0;
}

}  // namespace
}  // namespace geist::engine

int main(int argc, char** argv) { return geist::engine::run(argc, argv); }
