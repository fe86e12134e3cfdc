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

}  // namespace

struct ThreadPool::State {
  // Each on its own cache line: workers spin on `epoch` while finishing threads write `pending`.
  alignas(64) std::atomic<uint32_t> epoch{0};
  alignas(64) std::atomic<int> pending{0};
  alignas(64) std::atomic<int64_t> counter{0};
  alignas(64) Call call = nullptr;
  void* context = nullptr;
  std::atomic<bool> stop{false};
  int spins = kSpinsBeforeSleep;
  std::vector<std::thread> workers;

  void work(int index) {
    uint32_t seen = 0;
    for (;;) {
      wait_for_epoch(seen);
      seen = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_relaxed)) return;
      call(context, index);
      if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) pending.notify_one();
    }
  }

  void wait_for_epoch(uint32_t seen) {
    for (int spin = 0; spin < spins; ++spin) {
      if (epoch.load(std::memory_order_acquire) != seen) return;
      cpu_pause();
    }
    epoch.wait(seen, std::memory_order_acquire);
  }

  void start_epoch() {
    epoch.fetch_add(1, std::memory_order_release);
    epoch.notify_all();
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
  state_->start_epoch();
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::size() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::run_erased(Call call, void* context) {
  State& state = *state_;
  if (state.workers.empty()) return call(context, 0);
  state.call = call;
  state.context = context;
  state.pending.store(static_cast<int>(state.workers.size()), std::memory_order_relaxed);
  state.start_epoch();
  call(context, 0);
  for (int spin = 0;; ++spin) {
    const int left = state.pending.load(std::memory_order_acquire);
    if (left == 0) return;
    if (spin < state.spins) {
      cpu_pause();
    } else {
      state.pending.wait(left, std::memory_order_acquire);
    }
  }
}

void ThreadPool::reset_counter() { state_->counter.store(0, std::memory_order_relaxed); }
int64_t ThreadPool::next() { return state_->counter.fetch_add(1, std::memory_order_relaxed); }

}  // namespace geist
