// A pool for data-parallel regions: run(f) calls f(part) once for each part in [0, size()), on as
// many threads as begin, the caller among them, and returns when all are done. The caller does the
// part of a worker that has not begun when its own is done, so that a region waits for no thread
// that the system keeps from running; the parts of a region must therefore not wait for each other.
// Workers spin for some microseconds for the next region (a decode step has hundreds of them) and
// then sleep, so an idle program uses no CPU.
//
// Determinism: a region splits rows, heads or sequences, never a reduction, so results do not
// depend on size().
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

#include "base/result.h"

namespace geist {

class ThreadPool {
 public:
  // thread_count >= 1, the caller included. 0 means one for each processor of the affinity mask.
  // Where the system may refuse so many threads, create() says so; the constructor takes it as a
  // fault of the program.
  explicit ThreadPool(int thread_count = 0);
  static Result<std::unique_ptr<ThreadPool>> create(int thread_count);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // One region at a time: run() is not re-entrant and one thread may call it. f must not throw.
  template <typename F>
  void run(F&& f) {
    run_erased([](void* context,
                  int index) { (*static_cast<std::remove_reference_t<F>*>(context))(index); },
               const_cast<void*>(static_cast<const void*>(&f)));
  }

  // Calls f(begin, end) for contiguous parts of [0, count), at most one a thread, each but the last
  // a multiple of `grain` long.
  template <typename F>
  void for_ranges(int64_t count, int64_t grain, F&& f) {
    const int64_t grains = (count + grain - 1) / grain;
    if (size() == 1 || grains <= 1) {
      if (count > 0) f(int64_t{0}, count);
      return;
    }
    run([&](int index) {
      const int64_t begin = grains * index / size() * grain;
      const int64_t end = std::min(grains * (index + 1) / size() * grain, count);
      if (begin < end) f(begin, end);
    });
  }

  // Calls f(i) for every i in [0, count), handed out one by one: for work of uneven size.
  template <typename F>
  void for_each(int64_t count, F&& f) {
    if (size() == 1 || count <= 1) {
      for (int64_t i = 0; i < count; ++i) f(i);
      return;
    }
    reset_counter();
    run([&](int) {
      for (int64_t i = next(); i < count; i = next()) f(i);
    });
  }

 private:
  using Call = void (*)(void* context, int part);
  void run_erased(Call call, void* context);
  void reset_counter();
  int64_t next();

  Status start(int thread_count);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace geist
