#include "base/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <sched.h>

#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

#include "base/check.h"

namespace geist {
namespace {

// About 50 microseconds on current machines: longer than the gap between two regions of a forward
// pass, far shorter than a person notices as load.
constexpr int kSpinsBeforeSleep = 2000;
// When there are more threads than processors, a thread that spins keeps another from its work.
constexpr int kSpinsWhenCrowded = 1;

void cpu_pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int affinity_count() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

// A worker's part in the regions, on its own cache line. `turn` is 2r while somebody works on its
// part of region r (the worker, or the caller when the worker has not begun) and 2r + 1 when that
// is done. Regions count from 1.
struct alignas(64) Seat {
  std::atomic<uint32_t> turn{1};

  static uint32_t done(uint32_t region) { return 2 * region + 1; }

  // Whoever wins does the part. A worker that comes late, even by regions, finds its part taken.
  bool claim(uint32_t region) {
    uint32_t before = done(region - 1);
    return turn.compare_exchange_strong(before, 2 * region, std::memory_order_acq_rel,
                                        std::memory_order_relaxed);
  }
  bool is_free(uint32_t region) const {
    return turn.load(std::memory_order_relaxed) == done(region - 1);
  }
};

}  // namespace

struct ThreadPool::State {
  // Written once a region, read by all workers.
  alignas(64) std::atomic<uint32_t> region{0};
  Call call = nullptr;
  void* context = nullptr;
  std::atomic<bool> stop{false};
  // Written by all workers, so on a line where nothing else is.
  alignas(64) std::atomic<int64_t> counter{0};
  // Written once, before the workers begin.
  alignas(64) int spins = kSpinsBeforeSleep;
  std::unique_ptr<Seat[]> seats;  // [workers.size()]
  std::vector<std::thread> workers;

  void work(int index) {
    Seat& seat = seats[index - 1];
    for (uint32_t seen = 0;;) {
      wait_while(region, seen);
      seen = region.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      if (!seat.claim(seen)) continue;
      call(context, index);
      // In one order with the count of sleepers that notify_one reads: a caller that goes to sleep
      // now is seen.
      seat.turn.exchange(Seat::done(seen), std::memory_order_seq_cst);
      seat.turn.notify_one();
    }
  }

  void wait_while(const std::atomic<uint32_t>& value, uint32_t old) const {
    for (int spin = 0; spin < spins; ++spin) {
      if (value.load(std::memory_order_acquire) != old) return;
      cpu_pause();
    }
    value.wait(old, std::memory_order_acquire);
  }

  void start_region() {
    region.fetch_add(1, std::memory_order_seq_cst);
    region.notify_all();
  }
};

ThreadPool::ThreadPool(int thread_count) : state_(std::make_unique<State>()) {
  GEIST_CHECK(start(thread_count).ok());
}

Result<std::unique_ptr<ThreadPool>> ThreadPool::create(int thread_count) {
  auto pool = std::make_unique<ThreadPool>(1);
  GEIST_TRY(pool->start(thread_count));
  return pool;
}

Status ThreadPool::start(int thread_count) {
  const int processors = affinity_count();
  if (thread_count == 0) thread_count = processors;
  GEIST_CHECK(thread_count >= 1);
  if (thread_count > processors) state_->spins = kSpinsWhenCrowded;
  state_->seats = std::make_unique<Seat[]>(static_cast<size_t>(thread_count));
  state_->workers.reserve(static_cast<size_t>(thread_count));
  try {
    for (int i = 1; i < thread_count; ++i)
      state_->workers.emplace_back([this, i] { state_->work(i); });
  } catch (const std::system_error& error) {
    return errorf("%d threads cannot be started (%s after %d); ask for fewer with --threads",
                  thread_count, error.code().message().c_str(), size());
  }
  return {};
}

ThreadPool::~ThreadPool() {
  state_->stop.store(true, std::memory_order_relaxed);
  state_->start_region();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::size() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::run_erased(Call call, void* context) {
  State& state = *state_;
  if (state.workers.empty()) return call(context, 0);
  state.call = call;
  state.context = context;
  state.start_region();
  call(context, 0);
  // A worker that has not begun (it slept, or the system runs another program in its place) is not
  // waited for.
  const uint32_t region = state.region.load(std::memory_order_relaxed);
  const int workers = static_cast<int>(state.workers.size());
  for (int i = 0; i < workers; ++i) {
    Seat& seat = state.seats[i];
    if (!seat.is_free(region) || !seat.claim(region)) continue;
    call(context, i + 1);
    seat.turn.store(Seat::done(region), std::memory_order_relaxed);
  }
  for (int i = 0; i < workers; ++i) {
    Seat& seat = state.seats[i];
    for (uint32_t turn; (turn = seat.turn.load(std::memory_order_acquire)) != Seat::done(region);)
      state.wait_while(seat.turn, turn);
  }
}

void ThreadPool::reset_counter() { state_->counter.store(0, std::memory_order_relaxed); }
int64_t ThreadPool::next() { return state_->counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace geist
