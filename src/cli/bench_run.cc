#include "cli/bench_run.h"

#include <algorithm>
#include <chrono>

#include "base/rng.h"
#include "engine/session.h"

namespace geist::cli {
namespace {

using Clock = std::chrono::steady_clock;
using engine::Session;

class Bench {
 public:
  Bench(const LoadedModel& loaded, ThreadPool& pool)
      : model_(*loaded.model),
        kv_type_(loaded.kv_type),
        runner_(model_, pool),
        random_(1, "bench") {}

  // Sessions with `depth` tokens computed.
  Result<std::vector<Session>> prepare(const BenchWork& work) {
    std::vector<Session> sessions;
    for (int32_t i = 0; i < work.batch; ++i) {
      Session& session = sessions.emplace_back(
          model_,
          engine::SessionOptions{.context_max = work.depth + work.tokens, .kv_type = kv_type_});
      if (Status status = append(session, work.depth); !status) return status.error();
      while (session.pending() > 0) runner_.pass(session);
    }
    return sessions;
  }

  Result<double> time(const BenchWork& work, std::vector<Session>& sessions) {
    std::vector<Session*> all;
    for (Session& session : sessions) all.push_back(&session);
    const int32_t steps = work.prefill ? 1 : work.tokens;
    double seconds = 0;
    for (int32_t step = 0; step < steps; ++step) {
      for (Session& session : sessions)
        if (Status status = append(session, work.prefill ? work.tokens : 1); !status)
          return status.error();
      const auto begin = Clock::now();
      while (runner_.pass(all) > 0) {
      }
      seconds += std::chrono::duration<double>(Clock::now() - begin).count();
    }
    for (Session& session : sessions) session.truncate(work.depth);
    return seconds;
  }

 private:
  Status append(Session& session, int32_t count) {
    std::vector<text::TokenId> tokens(static_cast<size_t>(count));
    for (text::TokenId& id : tokens)
      id = static_cast<text::TokenId>(
          random_.next_below(static_cast<uint64_t>(model_.config().vocab_size)));
    return session.append(tokens);
  }

  const model::Model& model_;
  model::KvType kv_type_;
  engine::Runner runner_;
  RandomStream random_;
};

}  // namespace

double Measurement::median_s() const {
  std::vector<double> sorted = seconds;
  std::sort(sorted.begin(), sorted.end());
  const size_t middle = sorted.size() / 2;
  return sorted.size() % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

double Measurement::rate() const {
  return static_cast<double>(work.tokens) * work.batch / median_s();
}

Result<std::vector<Measurement>> run_bench_works(const LoadedModel& loaded,
                                                 std::span<const BenchWork> works, int threads,
                                                 int repeats) {
  GEIST_ASSIGN(const std::unique_ptr<ThreadPool> owned, ThreadPool::create(threads));
  ThreadPool& pool = *owned;
  Bench bench(loaded, pool);
  // Once unmeasured: touches the weights, grows the scratch memory.
  const BenchWork first{.prefill = false, .tokens = 1, .depth = 0, .batch = 1};
  GEIST_ASSIGN(std::vector<Session> warm, bench.prepare(first));
  GEIST_ASSIGN([[maybe_unused]] const double ignored, bench.time(first, warm));
  std::vector<Measurement> out;
  for (const BenchWork& work : works) {
    GEIST_ASSIGN(std::vector<Session> sessions, bench.prepare(work));
    Measurement m{work, pool.size(), {}};
    for (int i = 0; i < repeats; ++i) {
      GEIST_ASSIGN(const double seconds, bench.time(work, sessions));
      m.seconds.push_back(seconds);
    }
    out.push_back(std::move(m));
  }
  return out;
}

}  // namespace geist::cli
